//! Our state machines against capnp-rpc, which nobody here wrote: each of them is one end of a pipe.

use std::{cell::RefCell, rc::Rc, time::Duration};

use capnp::{ErrorKind as Kind, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    task::{JoinHandle, LocalSet, spawn_local},
};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use super::{
    client::{ClientEvent, RegistrationClient},
    generated::{
        oracle_capnp::registration_server as oracle, registration_capnp::connection_response,
    },
    message::REGISTRATION_SERVER,
    registration::{Refusal, Registered, Registration},
    server::{RegistrationServer, ServerEvent},
    tests::{sample_registered, sample_registration},
};
use crate::error::Error;

type Verdict = Result<Registered, Refusal>;

fn verdicts() -> [(&'static str, Verdict); 4] {
    let refusal = |cause: &str, retry_after| Err(Refusal { cause: cause.into(), retry_after });
    [
        ("yes", Ok(sample_registered())),
        ("EDUPCONN", refusal(Refusal::DUPLICATE, None)),
        ("for good", Err(Refusal::unauthorized())),
        ("for now", refusal("edge busy", Some(Duration::from_millis(3_500)))),
    ]
}

fn network(io: DuplexStream, side: Side) -> VatNetwork<impl futures_util::AsyncRead + Unpin> {
    let (read, write) = tokio::io::split(io);
    VatNetwork::new(read.compat(), write.compat_write(), side, ReaderOptions::new())
}

/// capnp-rpc in the edge's place. Without a verdict it fails.
struct Edge {
    verdict: Option<Verdict>,
    seen: RefCell<Vec<String>>,
}

impl oracle::Server for Edge {
    async fn register_connection(
        self: Rc<Self>,
        params: oracle::RegisterConnectionParams,
        mut results: oracle::RegisterConnectionResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let (auth, options) = (params.get_auth()?, params.get_options()?);
        let client = options.get_client()?;
        self.seen.borrow_mut().push(format!(
            "{} {:?} {:?} {} {:?} {} {} {:?} {} {}",
            auth.get_account_tag()?.to_str()?,
            auth.get_tunnel_secret()?,
            params.get_tunnel_id()?,
            params.get_conn_index(),
            client.get_client_id()?,
            client.get_version()?.to_str()?,
            client.get_arch()?.to_str()?,
            options.get_origin_local_ip()?,
            options.get_replace_existing(),
            options.get_num_previous_attempts(),
        ));
        let result = results.get().init_result();
        match &self.verdict {
            None => return Err(capnp::Error::failed("the directory is away".into())),
            Some(Ok(registered)) => {
                let mut details = result.init_connection_details();
                details.set_uuid(registered.connection_id.as_bytes());
                details.set_location_name(&registered.location);
                details.set_tunnel_is_remotely_managed(registered.is_remotely_managed);
            }
            Some(Err(refusal)) => {
                let mut error = result.init_error();
                error.set_cause(&refusal.cause);
                error.set_should_retry(refusal.retry_after.is_some());
                let after = refusal.retry_after.unwrap_or_default().as_nanos();
                error.set_retry_after(i64::try_from(after).unwrap());
            }
        }
        Ok(())
    }

    async fn unregister_connection(
        self: Rc<Self>,
        _: oracle::UnregisterConnectionParams,
        _: oracle::UnregisterConnectionResults,
    ) -> Result<(), capnp::Error> {
        self.seen.borrow_mut().push("unregister".into());
        Ok(())
    }

    async fn update_local_configuration(
        self: Rc<Self>,
        params: oracle::UpdateLocalConfigurationParams,
        _: oracle::UpdateLocalConfigurationResults,
    ) -> Result<(), capnp::Error> {
        let config = params.get()?.get_config()?;
        self.seen.borrow_mut().push(String::from_utf8_lossy(config).into_owned());
        match config {
            b"{}" => Ok(()),
            _ => Err(capnp::Error::failed("no such rule".into())),
        }
    }
}

/// Our connector on the other end of capnp-rpc's pipe.
struct Ours {
    client: RegistrationClient,
    io: DuplexStream,
}

impl Ours {
    async fn event(&mut self) -> Result<ClientEvent, Error> {
        let mut buffer = [0; 4096];
        loop {
            while let Some(bytes) = self.client.poll_output() {
                self.io.write_all(&bytes).await.unwrap();
            }
            if let Some(event) = self.client.poll_event() {
                return Ok(event);
            }
            let read = self.io.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the edge hung up");
            self.client.handle_input(&buffer[..read])?;
        }
    }
}

/// Starts capnp-rpc as an edge; returns our end and what it sees.
fn edge(verdict: Option<Verdict>) -> (Ours, Rc<Edge>, JoinHandle<Result<(), capnp::Error>>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let edge = Rc::new(Edge { verdict, seen: RefCell::default() });
    let object: oracle::Client = capnp_rpc::new_client_from_rc(Rc::clone(&edge));
    let system =
        spawn_local(RpcSystem::new(Box::new(network(far, Side::Server)), Some(object.client)));
    (Ours { client: RegistrationClient::new(sample_registration()), io: near }, edge, system)
}

#[tokio::test]
async fn our_connector_registers_with_their_edge() {
    let test = async {
        for (name, verdict) in verdicts() {
            let (mut ours, edge, _system) = edge(Some(verdict.clone()));
            let event = ours.event().await.unwrap();
            let expected = match verdict {
                Ok(registered) => ClientEvent::Registered(registered),
                Err(refusal) => ClientEvent::Refused(refusal),
            };
            assert_eq!(event, expected, "{name}");
            let secret: Vec<u8> = (0..32).collect();
            let sample = sample_registration();
            let told = format!(
                "acct0123456789abcdef {secret:?} {:?} 3 {:?} 0.1.0 linux_amd64 {:?} false 0",
                sample.credentials.tunnel_id().as_bytes(),
                sample.connector_id.as_bytes(),
                std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(),
            );
            assert_eq!(*edge.seen.borrow(), [told], "{name}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn our_connector_hears_their_edges_exceptions() {
    let test = async {
        let (mut ours, ..) = edge(None);
        let ClientEvent::Refused(refusal) = ours.event().await.unwrap() else { panic!("refused") };
        assert!(refusal.cause.contains("the directory is away"), "{}", refusal.cause);
        assert_eq!(refusal.retry_after, None);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn our_connector_tells_its_rules_and_leaves_their_edge() {
    let test = async {
        let (mut ours, edge, system) = edge(Some(Ok(sample_registered())));
        ours.event().await.unwrap();
        ours.client.update_local_configuration(b"{}".to_vec());
        assert_eq!(ours.event().await.unwrap(), ClientEvent::LocalConfiguration(Ok(())));
        ours.client.update_local_configuration(b"[]".to_vec());
        let ClientEvent::LocalConfiguration(Err(reason)) = ours.event().await.unwrap() else {
            panic!("it says why not")
        };
        assert!(reason.contains("no such rule"), "{reason}");
        ours.client.unregister();
        assert_eq!(ours.event().await.unwrap(), ClientEvent::Unregistered);
        assert_eq!(edge.seen.borrow()[1..], ["{}", "[]", "unregister"]);
        // `Release` and the end of the stream are a clean end for them too.
        ours.client.close();
        while let Some(bytes) = ours.client.poll_output() {
            ours.io.write_all(&bytes).await.unwrap();
        }
        ours.io.shutdown().await.unwrap();
        system.await.unwrap().unwrap();
        assert_eq!(Rc::strong_count(&edge), 1, "they let go of what we released");
    };
    LocalSet::new().run_until(test).await;
}

/// Our edge, serving one pipe; keeps what it heard. Without a verdict it never decides.
async fn serve(mut io: DuplexStream, verdict: Option<Verdict>) -> (Vec<ServerEvent>, bool) {
    let mut server = RegistrationServer::new();
    let (mut events, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(event) = server.poll_event() {
            if let (ServerEvent::Register(_), Some(verdict)) = (&event, &verdict) {
                assert!(server.respond(verdict.clone()));
            }
            events.push(event);
        }
        while let Some(bytes) = server.poll_output() {
            if io.write_all(&bytes).await.is_err() {
                return (events, true);
            }
        }
        match io.read(&mut buffer).await {
            Ok(0) | Err(_) => return (events, true),
            Ok(read) if server.handle_input(&buffer[..read]).is_err() => return (events, false),
            Ok(_) => {}
        }
    }
}

/// capnp-rpc as a connector, and our edge behind it.
fn connector(verdict: Option<Verdict>) -> (oracle::Client, Theirs) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let served = spawn_local(serve(far, verdict));
    let mut system = RpcSystem::new(Box::new(network(near, Side::Client)), None);
    let client = system.bootstrap(Side::Server);
    let disconnector = system.get_disconnector();
    spawn_local(system);
    (client, Theirs { disconnector, served })
}

/// What remains of a connector of theirs without its client.
struct Theirs {
    disconnector: capnp_rpc::Disconnector<Side>,
    served: JoinHandle<(Vec<ServerEvent>, bool)>,
}

impl Theirs {
    /// Hangs up; what our edge heard, and whether it saw a clean end.
    async fn leave(self) -> (Vec<ServerEvent>, bool) {
        self.disconnector.await.unwrap();
        within(self.served).await.unwrap()
    }
}

async fn within<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), step).await.expect("no standstill")
}

type RegisterRequest = capnp::capability::Request<
    oracle::register_connection_params::Owned,
    oracle::register_connection_results::Owned,
>;

fn register(client: &oracle::Client, registration: &Registration) -> RegisterRequest {
    let mut request = client.register_connection_request();
    let mut params = request.get();
    let credentials = &registration.credentials;
    params.set_tunnel_id(credentials.tunnel_id().as_bytes());
    params.set_conn_index(registration.connection_index);
    let mut auth = params.reborrow().init_auth();
    auth.set_account_tag(credentials.account_tag());
    auth.set_tunnel_secret(credentials.secret().expose());
    let mut options = params.init_options();
    options.set_origin_local_ip(&[127, 0, 0, 1]);
    let mut info = options.init_client();
    info.set_client_id(registration.connector_id.as_bytes());
    info.set_version(&registration.version);
    info.set_arch(&registration.arch);
    info.init_features(1).set(0, &registration.features[0]);
    request
}

#[tokio::test]
async fn their_connector_registers_with_our_edge() {
    let test = async {
        for (name, verdict) in verdicts() {
            let (client, served) = connector(Some(verdict.clone()));
            // Sent before the bootstrap is answered: a pipelined call.
            let response =
                within(register(&client, &sample_registration()).send().promise).await.unwrap();
            let heard = match response.get().unwrap().get_result().unwrap().which().unwrap() {
                connection_response::ConnectionDetails(details) => {
                    let details = details.unwrap();
                    assert_eq!(details.get_uuid().unwrap(), [9; 16]);
                    assert_eq!(details.get_location_name().unwrap(), "nrt01");
                    Ok(sample_registered())
                }
                connection_response::Error(error) => {
                    let error = error.unwrap();
                    let after = Duration::from_nanos(error.get_retry_after().unsigned_abs());
                    Err(Refusal {
                        cause: error.get_cause().unwrap().to_string().unwrap(),
                        retry_after: error.get_should_retry().then_some(after),
                    })
                }
            };
            assert_eq!(heard, verdict, "{name}");
            drop((client, response));
            let (events, _) = served.leave().await;
            assert_eq!(events[0], ServerEvent::Register(Box::new(sample_registration())));
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn their_connector_tells_its_rules_and_leaves_our_edge() {
    let test = async {
        let (client, served) = connector(Some(Ok(sample_registered())));
        let early =
            within(client.unregister_connection_request().send().promise).await.err().unwrap();
        assert_eq!(early.kind, Kind::Failed, "{early}");
        within(register(&client, &sample_registration()).send().promise).await.unwrap();
        let mut request = client.update_local_configuration_request();
        request.get().set_config(b"{}");
        within(request.send().promise).await.unwrap();
        within(client.unregister_connection_request().send().promise).await.unwrap();
        drop(client);
        let (events, clean) = served.leave().await;
        assert!(clean);
        assert_eq!(
            events[1..3],
            [ServerEvent::LocalConfiguration(b"{}".to_vec()), ServerEvent::Unregister,]
        );
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn their_connector_learns_what_our_edge_does_not_serve() {
    let test = async {
        let (client, _served) = connector(Some(Ok(sample_registered())));
        let error = within(client.later_request().send().promise).await.err().unwrap();
        assert_eq!(error.kind, Kind::Unimplemented, "{error}");
        for (interface, method) in [(0xea58_385c_6541_6035, 0), (REGISTRATION_SERVER, 7)] {
            let request: capnp::capability::Request<
                oracle::later_params::Owned,
                oracle::later_results::Owned,
            > = client.client.new_call(interface, method, None);
            let error = within(request.send().promise).await.err().unwrap();
            assert_eq!(error.kind, Kind::Unimplemented, "{error}");
        }
        // None of it spoilt the connection.
        within(register(&client, &sample_registration()).send().promise).await.unwrap();
        let again =
            within(register(&client, &sample_registration()).send().promise).await.err().unwrap();
        assert_eq!(again.kind, Kind::Failed, "{again}");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn their_connector_may_give_up_waiting_for_our_edge() {
    let test = async {
        let (client, served) = connector(None);
        let waiting = register(&client, &sample_registration()).send();
        // Answered after the registration arrived, so it has.
        within(client.later_request().send().promise).await.err().unwrap();
        drop(waiting);
        // `Finish` came before any `Return`; our `Return` of "canceled" is what they want to see, and
        // the connection goes on.
        let error = within(client.later_request().send().promise).await.err().unwrap();
        assert_eq!(error.kind, Kind::Unimplemented, "{error}");
        drop(client);
        let (events, clean) = served.leave().await;
        assert!(clean);
        assert!(matches!(events[0], ServerEvent::Register(_)));
    };
    LocalSet::new().run_until(test).await;
}
