# What a connector says to the edge on the control stream. Type ids and ordinals are
# cloudflared's; the calls themselves are told apart by the constants in src/rpc/mod.rs.
@0xdb8274f9144abc7e;

$import "rust.capnp".parentModule("rpc::generated");

struct Authentication @0x9496331ab9cd463f {
  accountTag @0 :Text;
  tunnelSecret @1 :Data;
}

struct ClientInfo @0x83ced0145b2f114b {
  clientId @0 :Data;
  features @1 :List(Text);
  version @2 :Text;
  arch @3 :Text;
}

struct ConnectionOptions @0xb4bf9861fe035d04 {
  client @0 :ClientInfo;
  originLocalIp @1 :Data;
  replaceExisting @2 :Bool;
  compressionQuality @3 :UInt8;
  numPreviousAttempts @4 :UInt8;
}

struct RegisterConnectionParams {
  auth @0 :Authentication;
  tunnelId @1 :Data;
  connIndex @2 :UInt8;
  options @3 :ConnectionOptions;
}

struct RegisterConnectionResults {
  result @0 :ConnectionResponse;
}

struct ConnectionResponse @0xdbaa9d03d52b62dc {
  union {
    error @0 :ConnectionError;
    connectionDetails @1 :ConnectionDetails;
  }
}

struct ConnectionError @0xf5f383d2785edb86 {
  cause @0 :Text;
  retryAfter @1 :Int64;
  shouldRetry @2 :Bool;
}

struct ConnectionDetails @0xb5f39f082b9ac18a {
  uuid @0 :Data;
  locationName @1 :Text;
  tunnelIsRemotelyManaged @2 :Bool;
}

struct UpdateLocalConfigurationParams {
  config @0 :Data;
}

struct Empty {}
