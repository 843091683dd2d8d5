// The small parts: token bucket, service times, annotated statuses.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/scheduling/annotated_status.h"
#include "server/scheduling/service_times.h"
#include "server/scheduling/token_bucket.h"

namespace synthvol::server {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

TEST(TokenBucketTest, LetsTheBurstThroughThenTheRate) {
  TokenBucket bucket(2.0, 4.0);
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(bucket.TimeUntil(1, kStart), absl::ZeroDuration());
    bucket.Take(1, kStart);
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(bucket.TimeUntil(1, kStart)), 0.5, 1e-3);
  EXPECT_EQ(bucket.TimeUntil(1, kStart + absl::Milliseconds(500)), absl::ZeroDuration());
}

TEST(TokenBucketTest, WaitingTheAnsweredTimeIsEnough) {
  TokenBucket bucket(0.3, 1.0);
  absl::Time now = kStart;
  for (int i = 0; i < 100; ++i) {
    now += bucket.TimeUntil(1, now);
    ASSERT_EQ(bucket.TimeUntil(1, now), absl::ZeroDuration());
    bucket.Take(1, now);
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(now - kStart), 99 / 0.3, 1e-2);
}

TEST(TokenBucketTest, MoreThanTheBurstLeavesADebt) {
  TokenBucket bucket(1.0, 5.0);
  ASSERT_EQ(bucket.TimeUntil(20, kStart), absl::ZeroDuration());
  bucket.Take(20, kStart);
  EXPECT_NEAR(absl::ToDoubleSeconds(bucket.TimeUntil(1, kStart)), 16.0, 1e-3);
}

TEST(TokenBucketTest, NoRateIsNoLimit) {
  TokenBucket bucket(0.0, 0.0);
  bucket.Take(1e9, kStart);
  EXPECT_EQ(bucket.TimeUntil(1e9, kStart), absl::ZeroDuration());
}

TEST(ServiceTimesTest, AveragesByKeyAndFallsBackToAll) {
  ServiceTimes times;
  EXPECT_FALSE(times.Estimate("a").has_value());
  times.Record("a", absl::Seconds(10));
  EXPECT_EQ(times.Estimate("a"), absl::Seconds(10));
  EXPECT_EQ(times.Estimate("never"), absl::Seconds(10));
  EXPECT_FALSE(times.Measured("never").has_value());
  times.Record("a", absl::Seconds(20));
  EXPECT_EQ(times.Estimate("a"), absl::Seconds(12));
}

TEST(ServiceTimesTest, FollowsAChange) {
  ServiceTimes times;
  for (int i = 0; i < 50; ++i) times.Record("a", absl::Seconds(1));
  for (int i = 0; i < 50; ++i) times.Record("a", absl::Seconds(3));
  EXPECT_NEAR(absl::ToDoubleSeconds(*times.Estimate("a")), 3.0, 0.01);
}

TEST(ServiceTimesTest, KeepsABoundedNumberOfKeys) {
  ServiceTimes times;
  for (size_t i = 0; i <= ServiceTimes::kMaxKeys; ++i) {
    times.Record(absl::StrCat("key", i), absl::Seconds(100 + static_cast<int>(i)));
  }
  // The oldest went: what is left for it is the average over all.
  EXPECT_NE(times.Estimate("key0"), absl::Seconds(100));
  EXPECT_EQ(times.Estimate("key1"), absl::Seconds(101));
}

TEST(AnnotatedStatusTest, CarriesWhatWasAnnotated) {
  absl::Status status = absl::ResourceExhaustedError("full");
  EXPECT_FALSE(ReasonOf(status).has_value());
  status = WithField(
      WithQuotaSubject(WithRetryAfter(WithReason(status, "QUEUE_FULL"), absl::Milliseconds(1500)),
                       "queue:requests"),
      "count");
  EXPECT_EQ(ReasonOf(status), "QUEUE_FULL");
  EXPECT_EQ(RetryAfterOf(status), absl::Milliseconds(1500));
  EXPECT_EQ(QuotaSubjectOf(status), "queue:requests");
  EXPECT_EQ(FieldOf(status), "count");
  EXPECT_TRUE(WithReason(absl::OkStatus(), "X").ok());
}

}  // namespace
}  // namespace synthvol::server
