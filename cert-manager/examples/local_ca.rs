//! A private authority that keeps a TLS server on loopback in certificates.
//!
//! Run: `cargo run -p sekimori-cert-manager --example local_ca`. It serves one handshake to itself
//! over a socket and prints the name, the serial number and how long the certificate lives. Run it
//! twice: the root stays the same, because it is kept in `target/local-ca`.

#![expect(clippy::print_stdout, reason = "that is what the example is for")]

use std::{
    error::Error,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::SystemTime,
};

use cert_manager::{
    DirectoryStore, Manager, PrivateCa, presets,
    rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream,
        crypto::CryptoProvider,
    },
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "a program reads the clock")]
    let now = SystemTime::now();
    let folder = std::path::Path::new("target/local-ca");
    let store = DirectoryStore::open(folder)?;
    let opened = PrivateCa::open(&store, "Local example CA", now)?;
    println!("authority in {}: {:?}", folder.display(), opened.origin);

    let mut roots = RootCertStore::empty();
    roots.add(opened.ca.root_der().clone())?;

    let manager = Manager::builder()
        .private_ca(opened.ca)
        .storage(store)
        .names(["app.localhost", "localhost", "127.0.0.1"])
        .start()
        .await?;
    for status in manager.snapshot().certificates {
        println!("{:?}: {:?}", status.names, status.health);
    }

    let provider = presets::provider();
    let resolver = manager.resolver().clone();
    let config = presets::server_config(provider.clone(), resolver, [b"http/1.1"])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || serve(&listener, config).map_err(|error| error.to_string()));
    println!("server says: {}", greet(address, provider, roots)?);
    server.join().map_err(|_| "the server panicked")??;
    Ok(())
}

fn serve(listener: &TcpListener, config: ServerConfig) -> Result<(), Box<dyn Error>> {
    let (mut socket, _) = listener.accept()?;
    let mut connection = ServerConnection::new(Arc::new(config))?;
    let mut tls = Stream::new(&mut connection, &mut socket);
    tls.write_all(b"hello over TLS")?;
    tls.conn.send_close_notify();
    tls.flush()?;
    Ok(())
}

fn greet(
    address: std::net::SocketAddr,
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
) -> Result<String, Box<dyn Error>> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut connection = ClientConnection::new(Arc::new(config), "app.localhost".try_into()?)?;
    let mut socket = TcpStream::connect(address)?;
    let mut text = String::new();
    Stream::new(&mut connection, &mut socket).read_to_string(&mut text)?;
    Ok(text)
}
