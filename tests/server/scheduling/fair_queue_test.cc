#include "server/scheduling/fair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace synthvol::server {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

FairQueue::Item Item(uint64_t id, const std::string& tenant, Priority priority,
                     absl::Duration after, absl::Duration work = absl::Seconds(1)) {
  return {id, tenant, priority, kStart + after, work};
}

// Takes everything, one at a time.
std::vector<uint64_t> TakeAll(FairQueue& queue) {
  std::vector<uint64_t> order;
  while (const auto taken = queue.Pop()) {
    order.push_back(taken->id);
    queue.Finish(*taken, taken->charged);
  }
  return order;
}

TEST(FairQueueTest, TakesHigherPrioritiesFirstAndEqualOnesInOrder) {
  FairQueue queue(absl::Seconds(10));
  queue.Push(Item(1, "a", Priority::kLow, absl::Seconds(0)));
  queue.Push(Item(2, "a", Priority::kNormal, absl::Seconds(1)));
  queue.Push(Item(3, "a", Priority::kHigh, absl::Seconds(2)));
  queue.Push(Item(4, "a", Priority::kNormal, absl::Seconds(3)));
  EXPECT_EQ(TakeAll(queue), (std::vector<uint64_t>{3, 2, 4, 1}));
}

TEST(FairQueueTest, WaitingOneIntervalIsWorthOnePriority) {
  FairQueue queue(absl::Seconds(10));
  queue.Push(Item(1, "a", Priority::kLow, absl::Seconds(0)));
  queue.Push(Item(2, "a", Priority::kNormal, absl::Seconds(11)));
  queue.Push(Item(3, "a", Priority::kHigh, absl::Seconds(19)));
  queue.Push(Item(4, "a", Priority::kHigh, absl::Seconds(21)));
  // The low one, waiting since 0, is before a normal one of 10 s later and a high one of 20 s
  // later.
  EXPECT_EQ(TakeAll(queue), (std::vector<uint64_t>{3, 1, 2, 4}));
}

TEST(FairQueueTest, ALowPriorityDoesNotStarveBehindAStreamOfHighOnes) {
  FairQueue queue(absl::Seconds(10));
  queue.Push(Item(1, "a", Priority::kLow, absl::ZeroDuration()));
  // One high request a second arrives, one is served: only ageing lets the low one through.
  for (int second = 0; second < 60; ++second) {
    queue.Push(Item(100 + second, "a", Priority::kHigh, absl::Seconds(second)));
    const auto taken = queue.Pop();
    ASSERT_TRUE(taken.has_value());
    queue.Finish(*taken, taken->charged);
    if (taken->id == 1) {
      EXPECT_GE(second, 20);
      EXPECT_LE(second, 21);
      return;
    }
  }
  FAIL() << "the low request was never taken";
}

TEST(FairQueueTest, SharesFollowWeightsWhoeverAsksForMore) {
  FairQueue queue(absl::Seconds(10));
  queue.SetTenant("heavy", 3.0, 0);
  queue.SetTenant("light", 1.0, 0);
  for (uint64_t i = 0; i < 1000; ++i) {
    // The light tenant floods and marks everything high.
    queue.Push(Item(10000 + i, "light", Priority::kHigh, absl::ZeroDuration()));
    queue.Push(Item(20000 + i, "heavy", Priority::kLow, absl::ZeroDuration()));
  }
  std::map<std::string, int> served;
  for (int i = 0; i < 400; ++i) {
    const auto taken = queue.Pop();
    ++served[taken->tenant];
    queue.Finish(*taken, taken->charged);
  }
  EXPECT_NEAR(served["heavy"], 300, 2);
  EXPECT_NEAR(served["light"], 100, 2);
}

TEST(FairQueueTest, SharesCountTimeUsedNotRequests) {
  FairQueue queue(absl::Seconds(10));
  for (uint64_t i = 0; i < 500; ++i) {
    queue.Push(Item(1000 + i, "long", Priority::kNormal, absl::ZeroDuration()));
    queue.Push(Item(2000 + i, "short", Priority::kNormal, absl::ZeroDuration()));
  }
  std::map<std::string, double> seconds;
  for (int i = 0; i < 300; ++i) {
    const auto taken = queue.Pop();
    // Both were estimated at a second; the long ones turn out to take four.
    const absl::Duration used = taken->tenant == "long" ? absl::Seconds(4) : absl::Seconds(1);
    seconds[taken->tenant] += absl::ToDoubleSeconds(used);
    queue.Finish(*taken, used);
  }
  EXPECT_NEAR(seconds["long"] / seconds["short"], 1.0, 0.05);
}

TEST(FairQueueTest, AnIdleTenantSavesNothingUp) {
  FairQueue queue(absl::Seconds(10));
  for (uint64_t i = 0; i < 200; ++i) {
    queue.Push(Item(i + 1, "busy", Priority::kNormal, absl::ZeroDuration()));
  }
  for (int i = 0; i < 100; ++i) {
    const auto taken = queue.Pop();
    queue.Finish(*taken, taken->charged);
  }
  for (uint64_t i = 0; i < 100; ++i) {
    queue.Push(Item(1000 + i, "late", Priority::kNormal, absl::ZeroDuration()));
  }
  int late = 0;
  for (int i = 0; i < 20; ++i) {
    const auto taken = queue.Pop();
    late += taken->tenant == "late" ? 1 : 0;
    queue.Finish(*taken, taken->charged);
  }
  EXPECT_NEAR(late, 10, 1);
}

TEST(FairQueueTest, ATenantAtItsLimitIsPassedOver) {
  FairQueue queue(absl::Seconds(10));
  queue.SetTenant("limited", 1.0, 1);
  queue.Push(Item(1, "limited", Priority::kHigh, absl::ZeroDuration()));
  queue.Push(Item(2, "limited", Priority::kHigh, absl::ZeroDuration()));
  const auto first = queue.Pop();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->id, 1u);
  EXPECT_FALSE(queue.Pop().has_value());
  queue.Push(Item(3, "other", Priority::kLow, absl::ZeroDuration()));
  EXPECT_EQ(queue.Pop()->id, 3u);
  queue.Finish(*first, first->charged);
  EXPECT_EQ(queue.Pop()->id, 2u);
}

TEST(FairQueueTest, RemovedItemsAreNeverTaken) {
  FairQueue queue(absl::Seconds(10));
  for (uint64_t id = 1; id <= 10; ++id) {
    queue.Push(Item(id, id % 2 == 0 ? "a" : "b", Priority::kNormal, absl::Seconds(id)));
  }
  for (uint64_t id = 1; id <= 10; id += 3) EXPECT_TRUE(queue.Remove(id));
  EXPECT_FALSE(queue.Remove(1));
  EXPECT_FALSE(queue.Remove(99));
  EXPECT_EQ(queue.size(), 6u);
  EXPECT_EQ(queue.work(), absl::Seconds(6));
  for (const uint64_t id : TakeAll(queue)) EXPECT_NE(id % 3, 1u);
  EXPECT_EQ(queue.work(), absl::ZeroDuration());
}

TEST(FairQueueTest, WorkAheadCountsOwnPrioritiesAndOthersShares) {
  FairQueue queue(absl::Seconds(10));
  for (uint64_t i = 0; i < 4; ++i) {
    queue.Push(Item(1 + i, "me", Priority::kNormal, absl::ZeroDuration()));
  }
  for (uint64_t i = 0; i < 50; ++i) {
    queue.Push(Item(100 + i, "you", Priority::kHigh, absl::ZeroDuration()));
  }
  // Equal weights: while my four are served, four of yours are.
  EXPECT_EQ(queue.WorkAhead("me", Priority::kNormal), absl::Seconds(8));
  EXPECT_EQ(queue.WorkAhead("me", Priority::kHigh), absl::ZeroDuration());
  EXPECT_EQ(queue.WorkAhead("you", Priority::kLow), absl::Seconds(54));
  EXPECT_EQ(queue.WorkAhead("newcomer", Priority::kLow), absl::ZeroDuration());
}

TEST(FairQueueTest, HoldsManyAndGivesEachOnce) {
  FairQueue queue(absl::Seconds(10));
  constexpr uint64_t kCount = 10000;
  for (uint64_t id = 1; id <= kCount; ++id) {
    queue.Push(Item(id, absl::StrCat("t", id % 97), static_cast<Priority>(id % 3),
                    absl::Milliseconds(id)));
  }
  std::vector<bool> seen(kCount + 1);
  for (const uint64_t id : TakeAll(queue)) {
    EXPECT_FALSE(seen[id]);
    seen[id] = true;
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), static_cast<int64_t>(kCount));
}

}  // namespace
}  // namespace synthvol::server
