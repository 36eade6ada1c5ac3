//! nginx three times: the origin, and two hops that do what edge and connector do.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use cert_manager::{PrivateCa, Profile};

use crate::{
    process::{Server, free_ports},
    programs::Programs,
};

/// The name that the front has a certificate for.
pub(crate) const HOST: &str = "nginx.bench.example";

/// The name that the back has a certificate for.
const BACK_HOST: &str = "back.bench.example";

/// A running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) port: u16,
    _server: Server,
}

/// Front and back.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) port: u16,
    pub(crate) servers: Vec<Server>,
}

/// Starts the origin: one file of 1 KiB over plain HTTP with keep-alive.
pub(crate) fn origin(programs: &Programs, directory: &Path) -> anyhow::Result<Origin> {
    let [port] = free_ports()?;
    let root = directory.join("www");
    fs::create_dir(&root)?;
    fs::write(root.join("1k"), [b'x'; 1024])?;
    let server = format!(
        "access_log off; open_file_cache max=16; \
         server {{ listen 127.0.0.1:{port}; root {}; default_type text/plain; }}",
        root.display()
    );
    Ok(Origin { port, _server: start("origin", programs, directory, port, &server)? })
}

/// Starts the two hops, each with TLS on its listening side, in front of the origin.
pub(crate) fn chain(programs: &Programs, directory: &Path, origin: u16) -> anyhow::Result<Chain> {
    let [port, back_port] = free_ports()?;
    let ca = issue_certificates(directory)?;
    let path = |name: &str| directory.join(name).display().to_string();
    // rustls prefers AES-256 on the leg between edge and connector, so the peers get the same.
    let back = format!(
        "access_log off; \
         upstream origin {{ server 127.0.0.1:{origin}; keepalive 1024; \
           keepalive_requests 1000000000; }} \
         server {{ listen 127.0.0.1:{back_port} ssl; {} \
           ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384; \
           location / {{ proxy_pass http://origin; {FORWARD} }} }}",
        tls(directory, "back"),
    );
    let back = start("back", programs, directory, back_port, &back)?;
    let front = format!(
        "access_log {}; \
         upstream back {{ server 127.0.0.1:{back_port}; keepalive 1024; \
           keepalive_requests 1000000000; }} \
         server {{ listen 127.0.0.1:{port} ssl; {} \
           ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; \
           location / {{ proxy_pass https://back; {FORWARD} \
             proxy_set_header X-Forwarded-For $remote_addr; \
             proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_server_name on; \
             proxy_ssl_name {BACK_HOST}; proxy_ssl_trusted_certificate {ca}; }} }}",
        path("front.access"),
        tls(directory, "front"),
    );
    let front = start("front", programs, directory, port, &front)?;
    Ok(Chain { port, servers: vec![front, back] })
}

fn issue_certificates(directory: &Path) -> anyhow::Result<String> {
    let now = SystemTime::now();
    let ca = PrivateCa::generate("Bench CA", now)?;
    for (file, host) in [("front", HOST), ("back", BACK_HOST)] {
        let certificate = ca.issue(&[host.parse()?], Profile::server(), now)?;
        fs::write(directory.join(format!("{file}.crt")), certificate.chain_pem())?;
        fs::write(directory.join(format!("{file}.key")), certificate.key_pem().expose())?;
    }
    let file = directory.join("nginx-ca.pem");
    fs::write(&file, ca.root_pem())?;
    Ok(file.display().to_string())
}

fn tls(directory: &Path, name: &str) -> String {
    let file = directory.join(name);
    let file = file.display();
    format!(
        "ssl_certificate {file}.crt; ssl_certificate_key {file}.key; ssl_protocols TLSv1.3; \
         ssl_session_tickets on;"
    )
}

fn start(
    name: &'static str,
    programs: &Programs,
    directory: &Path,
    port: u16,
    http: &str,
) -> anyhow::Result<Server> {
    let path = |suffix: &str| directory.join(format!("{name}.{suffix}")).display().to_string();
    let scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};", path(kind)))
        .join(" ");
    // `user root` keeps a worker that root starts able to read the private directory; others
    // ignore it.
    let text = format!(
        "daemon off; user root; worker_processes 1; pid {}; error_log {} error; \
         events {{ worker_connections 8192; }} \
         http {{ {scratch} sendfile on; tcp_nodelay on; tcp_nopush on; keepalive_timeout 75; \
         keepalive_requests 1000000000; {http} }}\n",
        path("pid"),
        path("errors"),
    );
    let config = path("conf");
    fs::write(&config, text)?;
    let mut command = Command::new(&programs.nginx);
    command.arg("-e").arg(path("errors")).arg("-c").arg(&config).arg("-p").arg(directory);
    let mut server = Server::start(name, &mut command, directory)?;
    let address = ([127, 0, 0, 1], port).into();
    server.wait(|| {
        let connected = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        connected.map(drop).context("does not listen")
    })?;
    Ok(server)
}

/// Both hops keep connections and pass the visitor's name on.
const FORWARD: &str =
    "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;";
