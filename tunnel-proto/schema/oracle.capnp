# The interface that an edge serves, whole, for the tests that hold capnp-rpc against our own state
# machines. The crate itself needs no more than registration.capnp.
@0xa3d0c1f6e8b24795;

$import "rust.capnp".parentModule("rpc::generated");

using R = import "registration.capnp";

interface RegistrationServer @0xf71695ec7fe85497 {
  registerConnection @0 (auth :R.Authentication, tunnelId :Data, connIndex :UInt8, options :R.ConnectionOptions)
      -> (result :R.ConnectionResponse);
  unregisterConnection @1 () -> ();
  updateLocalConfiguration @2 (config :Data) -> ();
  later @3 () -> ();
}
