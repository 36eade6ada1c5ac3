//! A real nginx as origin (Debian package nginx-light). The binary is `/usr/sbin/nginx` unless the
//! environment variable `NGINX` names another.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, process::Command, time::timeout};

use super::{
    PATIENCE, loopback,
    process::Program,
    visitor::{Page, Visitor},
};

/// A running nginx with two files and a page that says what it was sent.
#[derive(Debug)]
pub struct Nginx {
    program: Program,
    directory: TempDir,
    pub address: SocketAddr,
}

/// Its front page.
pub const PAGE: &str =
    "<!doctype html><title>予約表</title><h1>Only for colleagues — 社内限定</h1>\n";

impl Nginx {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = loopback::free_address();
        let root = directory.path();
        fs::create_dir(root.join("www")).expect("a directory");
        fs::write(root.join("www/index.html"), PAGE).expect("a page");
        fs::write(root.join("www/photo.bin"), photo()).expect("a file");
        fs::write(root.join("nginx.conf"), configuration(root, address)).expect("a configuration");

        let binary = std::env::var("NGINX").unwrap_or_else(|_| "/usr/sbin/nginx".to_owned());
        let mut command = Command::new(binary);
        command.arg("-e").arg("stderr").arg("-p").arg(root).arg("-c").arg(root.join("nginx.conf"));
        let program = Program::start("nginx", command);
        let listens = async {
            // nginx gives no sign when it listens.
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, listens).await.is_ok(), "{}", program.everything());
        Self { program, directory, address }
    }

    /// Its address as an origin.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its own answer, without gate and tunnel.
    pub async fn get(&self, path: &str) -> Page {
        Visitor::inside().get(&format!("{}{path}", self.url())).await
    }

    /// The requests that it has answered, in order.
    pub fn requests(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        let whole_lines = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole_lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Waits until a request for this path is in the log, and gives all up to it.
    pub async fn requests_up_to(&self, path: &str) -> Vec<Value> {
        let logged = async {
            loop {
                let requests = self.requests();
                if let Some(at) = requests.iter().position(|request| request["path"] == path) {
                    return requests[..=at].to_vec();
                }
                // nginx writes its log after the answer.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, logged).await.unwrap_or_else(|_| panic!("nginx saw no `{path}`"))
    }
}

/// A megabyte that no text layer survives.
pub fn photo() -> Vec<u8> {
    (0..1_048_576_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// What it was sent goes into its log and onto `/seen`. Underscores count as hyphens here, as in an
/// origin that is careless about them.
const SEEN: &str = r#"{"path":"$uri","method":"$request_method","assertion":"$http_cf_access_jwt_assertion","email":"$http_cf_access_authenticated_user_email","connecting_ip":"$http_cf_connecting_ip","forwarded_for":"$http_x_forwarded_for","forwarded_proto":"$http_x_forwarded_proto","ray":"$http_cf_ray","internal":"$http_cf_cloudflared_x","cookie":"$http_cookie","host":"$http_host"}"#;

fn configuration(root: &Path, address: SocketAddr) -> String {
    let root = root.display();
    format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr notice;
events {{ worker_connections 64; }}
http {{
  log_format seen escape=json '{SEEN}';
  access_log {root}/access.log seen;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  types {{ text/html html; application/octet-stream bin; }}
  charset utf-8;
  underscores_in_headers on;
  server {{
    listen {address};
    root {root}/www;
    location = /seen {{ default_type application/json; return 200 '{SEEN}'; }}
    location /sentinel {{ return 204; }}
    location = /sets-cookie {{
      add_header Set-Cookie '__Host-CF_Authorization=planted; Path=/; Secure';
      add_header Set-Cookie 'theme=dark; Path=/';
      return 204;
    }}
  }}
}}
"
    )
}
