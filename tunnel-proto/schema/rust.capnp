# The annotation by which capnpc-rust learns where a generated module lives in the crate.
@0x9c7a7b1e6b0a4d55;

annotation parentModule @0xabee386cd1450364 (file) :Text;
