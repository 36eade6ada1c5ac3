//! nginx three times: the origin, and two hops that do what edge and connector do.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use crate::{
    certificates::Certificates,
    process::{Server, free_ports, wait_for_port},
    programs::Programs,
    systems::{Processes, Role, System},
};

/// The name that the front has a certificate for.
const HOST: &str = "nginx.bench.example";

/// The name that the back has a certificate for.
const BACK_HOST: &str = "back.bench.example";

/// Bytes of the large file.
pub(crate) const LARGE_BYTES: u64 = 256 * 1024 * 1024;

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) port: u16,
    pub(crate) server: Server,
}

/// Starts the origin: a file of 1 KiB and a large one, over plain HTTP with keep-alive.
pub(crate) fn origin(programs: &Programs, directory: &Path) -> anyhow::Result<Nginx> {
    let [port] = free_ports()?;
    let root = directory.join("www");
    fs::create_dir(&root)?;
    fs::write(root.join("1k"), [b'x'; 1024])?;
    File::create(root.join("large"))?.set_len(LARGE_BYTES)?;
    let server = format!(
        "access_log off; open_file_cache max=16; \
         server {{ listen 127.0.0.1:{port}; root {}; default_type text/plain; }}",
        root.display()
    );
    Ok(Nginx { port, server: start("origin", programs, directory, port, &server)? })
}

/// Starts the two hops, each with TLS on its listening side, in front of the origin.
pub(crate) fn chain(
    programs: &Programs,
    certificates: &Certificates,
    directory: &Path,
    (origin, sink): (u16, u16),
    processes: &mut Processes,
) -> anyhow::Result<System> {
    let [back_port] = free_ports()?;
    let (certificate, key, _) = certificates.issue("back", BACK_HOST)?;
    // rustls prefers AES-256 on the leg between edge and connector, so the peers get the same.
    let back = format!(
        "access_log off; upstream origin {{ server 127.0.0.1:{origin}; {KEEP_ALIVE} }} \
         server {{ listen 127.0.0.1:{back_port} ssl; {} {STREAM} \
           ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384; \
           location = /upload {{ proxy_pass http://127.0.0.1:{sink}; {FORWARD} }} \
           location / {{ proxy_pass http://origin; {FORWARD} }} }}",
        tls(&certificate, &key),
    );
    let back = start("back", programs, directory, back_port, &back)?;
    let front = front(
        programs,
        certificates,
        directory,
        ("front", HOST),
        &format!("upstream back {{ server 127.0.0.1:{back_port}; {KEEP_ALIVE} }}"),
        &format!(
            "proxy_pass https://back; proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; \
             proxy_ssl_server_name on; proxy_ssl_name {BACK_HOST}; \
             proxy_ssl_trusted_certificate {};",
            certificates.root().display()
        ),
    )?;
    Ok(System {
        name: "nginx → nginx",
        role: Role::Reference,
        port: front.port,
        host: HOST,
        cookie: None,
        root: certificates.root().to_owned(),
        servers: processes.add([front.server, back]),
        upload: Some((HOST, "back")),
    })
}

/// Starts a visitor-facing nginx with TLS and a log line for each request.
pub(crate) fn front(
    programs: &Programs,
    certificates: &Certificates,
    directory: &Path,
    (name, host): (&'static str, &str),
    upstream: &str,
    pass: &str,
) -> anyhow::Result<Nginx> {
    let [port] = free_ports()?;
    let (certificate, key, _) = certificates.issue(name, host)?;
    let http = format!(
        "access_log {}; {upstream} server {{ listen 127.0.0.1:{port} ssl backlog=2048; {} {STREAM} \
           ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; \
           location / {{ {FORWARD} proxy_set_header X-Forwarded-For $remote_addr; {pass} }} }}",
        directory.join(format!("{name}.access")).display(),
        tls(&certificate, &key),
    );
    Ok(Nginx { port, server: start(name, programs, directory, port, &http)? })
}

fn tls(certificate: &str, key: &str) -> String {
    format!(
        "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; \
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
    server.wait(|| wait_for_port(port))?;
    Ok(server)
}

/// Idle connections that a hop keeps to the next one.
pub(crate) const KEEP_ALIVE: &str = "keepalive 1024; keepalive_requests 1000000000;";

/// Bodies pass through, as in a tunnel; nothing is written to files first.
const STREAM: &str =
    "client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;";

/// Both hops keep connections and pass the visitor's name on.
const FORWARD: &str =
    "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;";
