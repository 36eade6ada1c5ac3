//! Chromium, driven through chromedriver.

use std::{env, process::Stdio, time::Instant};

use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Duration, sleep, timeout},
};
use url::{ParseError, Url};

use crate::program::PATIENCE;

/// Keys as the driver spells them (the W3C's `WebDriver`, section 17.4.2).
pub(crate) const ENTER: &str = "\u{E007}";
pub(crate) const END: &str = "\u{E010}";
pub(crate) const TAB: &str = "\u{E004}";
pub(crate) const SHIFT_TAB: &str = "\u{E008}\u{E004}";

/// A browser with a fresh profile. The methods panic when the browser can't do what they say.
pub(crate) struct Browser {
    client: Client,
    /// The browser's process, as long as it runs.
    process: Option<u64>,
    _driver: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let path = env::var("CHROMEDRIVER").unwrap_or_else(|_| "/usr/bin/chromedriver".into());
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(&path)
            .args(["--port=0", "--log-level=SEVERE"])
            // Whatever the browser leaves lying about goes with the profile.
            .envs(["TMPDIR", "XDG_CONFIG_HOME"].map(|name| (name, profile.path())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("can't run `{path}` (CHROMEDRIVER): {error}"));
        let port = port_of(&mut driver).await;
        let capabilities = json!({
            // The quickstart's authority is new each time.
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "binary": env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into()),
                "args": [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    format!("--user-data-dir={}", profile.path().join("profile").display()),
                ],
            },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        let process = client.capabilities().unwrap()["goog:processID"].as_u64();
        Self { client, process, _driver: driver, _profile: profile }
    }

    pub(crate) async fn close(mut self) {
        self.client.clone().close().await.unwrap();
        self.process = None;
    }

    /// Loads a page, as from the address bar.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Types into whatever has the focus, as soon as something has.
    pub(crate) async fn types(&self, keys: &str) {
        let look = "return document.activeElement !== document.body";
        assert!(self.wait_for(look, |found| *found == true).await, "nothing has the focus");
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Clicks the link with these words.
    pub(crate) async fn follow(&self, words: &str) {
        self.client.find(Locator::LinkText(words)).await.unwrap().click().await.unwrap();
    }

    /// Clicks the button with these words.
    pub(crate) async fn press(&self, words: &str) {
        let button = format!("//button[normalize-space()='{words}']");
        self.client.find(Locator::XPath(&button)).await.unwrap().click().await.unwrap();
    }

    /// Waits until a loaded page has an element with this text in it.
    pub(crate) async fn sees(&self, css: &str, text: &str) {
        let look = format!(
            "const found = document.querySelector({});
             return document.readyState === 'complete' && found ? found.textContent : null",
            json!(css)
        );
        let is_there = |found: &Value| found.as_str().is_some_and(|found| found.contains(text));
        assert!(
            self.wait_for(&look, is_there).await,
            "no `{css}` with `{text}` at {} but {:#}",
            self.url().await,
            self.script("return document.body.innerText").await
        );
    }

    /// Runs a script again and again until its result will do. Says whether it ever did.
    async fn wait_for(&self, script: &str, will_do: impl Fn(&Value) -> bool) -> bool {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            // Between two pages there is nothing to run a script in.
            if self.client.execute(script, Vec::new()).await.as_ref().is_ok_and(&will_do) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    pub(crate) async fn url(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    pub(crate) async fn title(&self) -> String {
        self.client.title().await.unwrap()
    }

    /// What the field with this id holds.
    pub(crate) async fn value_of(&self, id: &str) -> String {
        let script = format!("return document.getElementById('{id}').value");
        self.script(&script).await.as_str().unwrap().to_owned()
    }

    /// The page's text, without one word that may differ.
    pub(crate) async fn text_without(&self, word: &str) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap().replace(word, "")
    }

    /// Runs a script in the page.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Sets the language that the browser asks pages for.
    pub(crate) async fn speak(&self, language: &str) {
        self.cdp("Network.enable", json!({})).await;
        let headers = json!({"headers": {"Accept-Language": language}});
        self.cdp("Network.setExtraHTTPHeaders", headers).await;
    }

    /// Takes away the cookies of the host whose page is open.
    pub(crate) async fn forget_host(&self) {
        assert!(!self.client.get_all_cookies().await.unwrap().is_empty());
        self.client.delete_all_cookies().await.unwrap();
        assert!(self.client.get_all_cookies().await.unwrap().is_empty());
    }

    /// Takes away the cookies of all hosts.
    pub(crate) async fn forget_everything(&self) {
        self.cdp("Network.clearBrowserCookies", json!({})).await;
    }

    /// What the console has complained about, except for statuses that the pages are about.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", json!({"type": "browser"})).await;
        let is_status = |entry: &Value| {
            let message = entry["message"].as_str().unwrap_or_default();
            entry["source"] == "network" && message.contains("the server responded with a status")
        };
        let entries = log.as_array().unwrap().iter();
        entries.filter(|entry| !is_status(entry)).map(ToString::to_string).collect()
    }

    /// Sends a command of Chromium's own protocol, `DevTools`.
    pub(crate) async fn cdp(&self, command: &str, params: Value) -> Value {
        self.command("goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    async fn command(&self, path: &'static str, body: Value) -> Value {
        let command = Post { path, body };
        let what = format!("{command:?}");
        self.client.issue_cmd(command).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // After a failure. A browser outlives its driver.
        if let Some(process) = self.process {
            let _ = std::process::Command::new("kill").arg(process.to_string()).status();
        }
    }
}

/// A command that only chromedriver knows.
#[derive(Debug)]
struct Post {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Post {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// The port that the driver chose. What it writes after that is read and dropped.
async fn port_of(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let port = line.rsplit_once("successfully on port ");
            if let Some((_, port)) = port {
                return port.trim_end_matches('.').parse().unwrap();
            }
        }
        panic!("chromedriver ended without a port");
    };
    let port = timeout(PATIENCE, port).await.expect("chromedriver starts");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    port
}
