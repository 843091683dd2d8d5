// Tokens, scopes, TLS, mTLS and rotation, over a real server with certificates made by openssl.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/atomic_file.h"
#include "base/checksum.h"
#include "server/config/config.h"
#include "server/security/token_store.h"
#include "tests/server/testing/test_server.h"

namespace synthvol::server {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

std::string TokenJson(const std::string& token, const std::string& tenant,
                      const std::string& scopes) {
  return absl::StrCat("{\"sha256\": \"", Sha256Hex(token), "\", \"tenant\": \"", tenant,
                      "\", \"scopes\": [", scopes, "]}");
}

TEST(TokenFileTest, WrongFilesAreRefusedWithoutRepeatingHashes) {
  const std::string hash(64, 'a');
  const std::pair<std::string, const char*> cases[] = {
      {"", "expected {\"tokens\""},
      {"[]", "expected {\"tokens\""},
      {"{\"tokens\": 3}", "expected {\"tokens\""},
      {"{\"tokens\": [], \"more\": 1}", "expected {\"tokens\""},
      {"{\"tokens\": [3]}", "tokens[0]"},
      {"{\"tokens\": [{\"sha256\": \"abc\", \"tenant\": \"t\", \"scopes\": [\"admin\"]}]}",
       "64 hexadecimal"},
      {absl::StrCat("{\"tokens\": [{\"sha256\": \"", std::string(64, 'g'),
                    "\", \"tenant\": \"t\", \"scopes\": [\"admin\"]}]}"),
       "64 hexadecimal"},
      {absl::StrCat("{\"tokens\": [{\"sha256\": \"", hash, "\", \"scopes\": [\"admin\"]}]}"),
       "tenant"},
      {absl::StrCat("{\"tokens\": [{\"sha256\": \"", hash,
                    "\", \"tenant\": \"a b\", \"scopes\": [\"admin\"]}]}"),
       "tenant"},
      {absl::StrCat("{\"tokens\": [{\"sha256\": \"", hash, "\", \"tenant\": \"t\"}]}"), "scopes"},
      {absl::StrCat("{\"tokens\": [{\"sha256\": \"", hash,
                    "\", \"tenant\": \"t\", \"scopes\": [\"root\"]}]}"),
       "synthesize, deliver or admin"},
      {absl::StrCat("{\"tokens\": [{\"sha256\": \"", hash,
                    "\", \"tenant\": \"t\", \"scopes\": [\"admin\"], \"token\": \"x\"}]}"),
       "all it may have"},
  };
  for (const auto& [text, message] : cases) {
    const auto tokens = ParseTokens(text);
    ASSERT_FALSE(tokens.ok()) << text;
    EXPECT_THAT(std::string(tokens.status().message()), HasSubstr(message));
    EXPECT_THAT(std::string(tokens.status().message()), ::testing::Not(HasSubstr(hash)));
  }
}

TEST(TokenFileTest, ComparesWholeStrings) {
  EXPECT_TRUE(EqualInConstantTime("abc", "abc"));
  EXPECT_FALSE(EqualInConstantTime("abc", "abd"));
  EXPECT_FALSE(EqualInConstantTime("abc", "abcd"));
  EXPECT_TRUE(EqualInConstantTime("", ""));
}

class TokensTest : public ::testing::Test {
 protected:
  TokensTest()
      : server_([this](v1::ServerConfig& config) {
          WriteTokens(absl::StrCat(TokenJson("alpha", "radiology", "\"synthesize\""), ",",
                                   TokenJson("omega", "ops", "\"admin\"")));
          config.mutable_auth()->set_token_file(path());
        }) {}

  std::string path() const { return folder_.path() + "/tokens.json"; }
  void WriteTokens(const std::string& entries) {
    ASSERT_TRUE(WriteFileAtomically(path(), absl::StrCat("{\"tokens\": [", entries, "]}")).ok());
  }
  grpc::Status Call(const std::string& authorization) {
    grpc::ClientContext context;
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    return Synthesize(server_.synthesis(), PlainRequest(), &context).status;
  }

  TemporaryFolder folder_;
  TestServer server_;
};

TEST_F(TokensTest, OnlyARightTokenIsLetIn) {
  EXPECT_TRUE(Call("Bearer alpha").ok());
  EXPECT_TRUE(Call("bearer alpha").ok());
  for (const char* wrong : {"", "alpha", "Bearer", "Bearer ", "Bearer alphA", "Bearer alpha ",
                            "Bearer alpha0", "Basic alpha", "Bearer omegaomega"}) {
    const grpc::Status status = Call(wrong);
    EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED) << wrong;
    EXPECT_EQ(ReasonOfGrpc(status), "BAD_CREDENTIALS");
    EXPECT_THAT(status.error_message(), ::testing::Not(HasSubstr("alpha")));
  }
}

TEST_F(TokensTest, ATokenIsNotTakenTwice) {
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer wrong");
  context.AddMetadata("authorization", "Bearer alpha");
  EXPECT_EQ(Synthesize(server_.synthesis(), PlainRequest(), &context).status.error_code(),
            StatusCode::UNAUTHENTICATED);
}

TEST_F(TokensTest, EachServiceWantsItsScope) {
  EXPECT_EQ(Call("Bearer omega").error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonOfGrpc(Call("Bearer omega")), "MISSING_SCOPE");
  const auto admin = [this](const std::string& token) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", token);
    v1::GetStatusResponse response;
    return server_.admin().GetStatus(&context, {}, &response).error_code();
  };
  EXPECT_EQ(admin("Bearer omega"), StatusCode::OK);
  EXPECT_EQ(admin("Bearer alpha"), StatusCode::PERMISSION_DENIED);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer alpha");
  v1::ListDestinationsResponse destinations;
  EXPECT_EQ(server_.delivery().ListDestinations(&context, {}, &destinations).error_code(),
            StatusCode::PERMISSION_DENIED);
}

TEST_F(TokensTest, AChangedFileIsReadAndABrokenOneIsNot) {
  ASSERT_TRUE(Call("Bearer alpha").ok());
  std::ofstream(path(), std::ios::trunc) << "{broken";
  absl::SleepFor(absl::Seconds(3));
  EXPECT_TRUE(Call("Bearer alpha").ok());
  WriteTokens(TokenJson("beta", "radiology", "\"synthesize\""));
  for (int i = 0; i < 100 && !Call("Bearer beta").ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_TRUE(Call("Bearer beta").ok());
  EXPECT_EQ(Call("Bearer alpha").error_code(), StatusCode::UNAUTHENTICATED);
}

// Makes authorities and certificates in a folder.
class Certificates {
 public:
  explicit Certificates(const std::string& folder) : folder_(folder) {
    Authority("ca");
    Authority("other");
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name + ".pem"; }
  std::string KeyPath(const std::string& name) const { return folder_ + "/" + name + ".key"; }
  std::string Pem(const std::string& name) const { return *ReadFile(Path(name)); }
  std::string Key(const std::string& name) const { return *ReadFile(KeyPath(name)); }

  // Issues a certificate for localhost with this common name; negative days make an expired one.
  void Issue(const std::string& name, const std::string& authority, int days = 30) {
    Run(absl::StrCat("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ",
                     name, ".new.key -out ", name, ".csr -subj /CN=", name));
    std::ofstream(folder_ + "/extensions") << "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
    Run(absl::StrCat("openssl x509 -req -in ", name, ".csr -CA ", authority, ".pem -CAkey ",
                     authority, ".key -CAcreateserial -days ", days, " -extfile extensions -out ",
                     name, ".new.pem"));
    Run(absl::StrCat("mv ", name, ".new.key ", name, ".key && mv ", name, ".new.pem ", name,
                     ".pem"));
  }

 private:
  void Authority(const std::string& name) {
    Run(
        absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                     "-keyout ",
                     name, ".key -out ", name, ".pem -days 30 -subj /CN=authority-", name));
  }
  void Run(const std::string& command) {
    ASSERT_EQ(std::system(absl::StrCat("cd ", folder_, " && ", command, " 2>/dev/null").c_str()), 0)
        << command;
  }

  const std::string folder_;
};

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() : certificates_(folder_.path()) {
    certificates_.Issue("server", "ca");
    certificates_.Issue("client", "ca");
    certificates_.Issue("stranger", "other");
    certificates_.Issue("expired", "ca", -1);
  }

  TestServer::Configure Tls(bool mutual) {
    return [this, mutual](v1::ServerConfig& config) {
      config.mutable_tls()->set_certificate_file(certificates_.Path("server"));
      config.mutable_tls()->set_private_key_file(certificates_.KeyPath("server"));
      config.mutable_tls()->mutable_reload_interval()->set_seconds(1);
      if (mutual) config.mutable_tls()->set_client_ca_file(certificates_.Path("ca"));
    };
  }
  // Calls with the roots of `authority` and, unless empty, the certificate of `client`.
  grpc::Status Call(const TestServer& server, const std::string& authority,
                    const std::string& client = "") {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = certificates_.Pem(authority);
    if (!client.empty()) {
      options.pem_cert_chain = certificates_.Pem(client);
      options.pem_private_key = certificates_.Key(client);
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = v1::SynthesisService::NewStub(
        grpc::CreateCustomChannel(server.target(), grpc::SslCredentials(options), arguments));
    grpc::ClientContext context;
    return Synthesize(*stub, PlainRequest(), &context).status;
  }

  TemporaryFolder folder_;
  Certificates certificates_;
};

TEST_F(TlsTest, ServesThoseWhoTrustItAndNoPlaintext) {
  TestServer server(Tls(false));
  EXPECT_TRUE(Call(server, "ca").ok());
  EXPECT_EQ(Call(server, "other").error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Synthesize(server.synthesis(), PlainRequest()).status.error_code(),
            StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, MutualTlsRefusesMissingForeignAndExpiredCertificates) {
  TestServer server(Tls(true));
  EXPECT_TRUE(Call(server, "ca", "client").ok());
  EXPECT_EQ(Call(server, "ca").error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(server, "ca", "stranger").error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(server, "ca", "expired").error_code(), StatusCode::UNAVAILABLE);
  // The tenant is the name in the certificate.
  EXPECT_EQ(server.server().scheduler().Snapshot().tenants.count("client"), 1u);
}

TEST_F(TlsTest, CertificatesRotateWithoutARestart) {
  TestServer server(Tls(false));
  ASSERT_TRUE(Call(server, "ca").ok());
  certificates_.Issue("server", "other");
  for (int i = 0; i < 100 && !Call(server, "other").ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_TRUE(Call(server, "other").ok());
  EXPECT_EQ(Call(server, "ca").error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, UnusableFilesAreNamedAtStart) {
  const auto start = [this](const std::string& certificate, const std::string& key) {
    v1::ServerConfig config;
    config.set_model_repository(folder_.path());
    config.set_listen("127.0.0.1:0");
    config.set_metrics_listen("off");
    config.mutable_tls()->set_certificate_file(certificate);
    config.mutable_tls()->set_private_key_file(key);
    CompleteConfig(config);
    return std::string(Server::Start(config).status().message());
  };
  const Certificates& c = certificates_;
  EXPECT_THAT(start(c.Path("none"), c.KeyPath("server")), HasSubstr("none.pem"));
  EXPECT_THAT(start(c.KeyPath("server"), c.KeyPath("server")), HasSubstr("a PEM certificate"));
  EXPECT_THAT(start(c.Path("server"), c.Path("server")), HasSubstr("a PEM private key"));
  EXPECT_THAT(start(c.Path("server"), c.KeyPath("client")), HasSubstr("does not fit"));
  EXPECT_THAT(start(c.Path("expired"), c.KeyPath("expired")), HasSubstr("has expired"));
}

}  // namespace
}  // namespace synthvol::server
