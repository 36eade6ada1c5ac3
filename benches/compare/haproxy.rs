//! haproxy twice, with one thread each: TLS to the visitor, TLS between the hops.

use std::{path::Path, process::Command};

use crate::{
    certificates::Certificates,
    pair::{Hop, Pair},
    process::free_ports,
    programs::Programs,
    systems::{Processes, System},
};

const HOST: &str = "haproxy.bench.example";
const BACK_HOST: &str = "haproxy-back.bench.example";

/// Starts both hops, if haproxy is there.
pub(crate) fn start(
    programs: &Programs,
    certificates: &Certificates,
    directory: &Path,
    (origin, sink): (u16, u16),
    processes: &mut Processes,
) -> anyhow::Result<Option<System>> {
    let Some(haproxy) = programs.optional("HAPROXY", "haproxy", "apt-get install haproxy") else {
        return Ok(None);
    };
    let [port, back_port] = free_ports()?;
    let (_, _, front_pem) = certificates.issue("haproxy-front", HOST)?;
    let (_, _, back_pem) = certificates.issue("haproxy-back", BACK_HOST)?;
    let back = format!(
        "{GLOBAL}  ssl-default-bind-ciphersuites TLS_AES_256_GCM_SHA384\n{DEFAULTS}\
         frontend back\n  bind 127.0.0.1:{back_port} ssl crt {back_pem} ssl-min-ver TLSv1.3\n  \
         use_backend sink if {{ path /upload }}\n  default_backend origin\n\
         backend origin\n  http-reuse always\n  server origin 127.0.0.1:{origin}\n\
         backend sink\n  server sink 127.0.0.1:{sink}\n"
    );
    let front = format!(
        "{GLOBAL}  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256\n  \
         log stdout format raw local0\n{DEFAULTS}\
         frontend front\n  bind 127.0.0.1:{port} ssl crt {front_pem} ssl-min-ver TLSv1.3\n  \
         log global\n  option httplog\n  option forwardfor\n  default_backend back\n\
         backend back\n  http-reuse always\n  server back 127.0.0.1:{back_port} ssl verify required \
         ca-file {} sni str({BACK_HOST}) verifyhost {BACK_HOST}\n",
        certificates.root().display()
    );
    let pair = Pair {
        name: "haproxy → haproxy",
        host: HOST,
        front: Hop { name: "haproxy-front", port, configuration: front },
        back: Hop { name: "haproxy-back", port: back_port, configuration: back },
    };
    let run = |file: &Path| {
        let mut command = Command::new(&haproxy);
        command.args(["-db", "-f"]).arg(file);
        command
    };
    pair.start(certificates, directory, processes, run).map(Some)
}

const GLOBAL: &str = "global\n  nbthread 1\n  maxconn 9000\n";

const DEFAULTS: &str = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 75s\n  \
     timeout server 75s\n  option http-keep-alive\n";
