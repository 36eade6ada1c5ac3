//! Pictures of pages, in every language, colour scheme and width.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::driver::Browser;

pub(crate) const LANGUAGES: [&str; 2] = ["en", "ja"];

const SCHEMES: [&str; 2] = ["light", "dark"];

/// The narrowest telephone, and a desk.
const WIDTHS: [u32; 2] = [320, 1280];

/// Takes pictures, and looks at pages where a picture does not tell.
pub(crate) struct Photographer {
    directory: PathBuf,
    /// The name of each picture, by its content.
    taken: HashMap<Vec<u8>, String>,
    twice: Vec<String>,
}

impl Photographer {
    pub(crate) fn new() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        fs::create_dir_all(&directory).unwrap();
        Self { directory, taken: HashMap::new(), twice: Vec::new() }
    }

    /// Takes the open page to `NAME-LANGUAGE-SCHEME-WIDTH.png`.
    pub(crate) async fn shoot(&mut self, browser: &Browser, name: &str, language: &str) {
        // As on a telephone, whose bars take no room.
        browser.cdp("Emulation.setScrollbarsHidden", json!({"hidden": true})).await;
        for width in WIDTHS {
            let height = if width < 600 { 640 } else { 800 };
            let metrics = json!({
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
            });
            browser.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
            for scheme in SCHEMES {
                let media = json!({
                    "features": [{"name": "prefers-color-scheme", "value": scheme}],
                });
                browser.cdp("Emulation.setEmulatedMedia", media).await;
                let name = format!("{name}-{language}-{scheme}-{width}");
                let height = inspect(browser, &name, language, scheme, width).await.max(height);
                let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
                let options = json!({
                    "format": "png", "clip": clip, "captureBeyondViewport": true,
                });
                let picture = browser.cdp("Page.captureScreenshot", options).await;
                let picture = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
                assert_eq!(size_of_png(&picture), Some((width, height)), "{name}");
                fs::write(self.directory.join(&name).with_extension("png"), &picture).unwrap();
                if let Some(other) = self.taken.insert(picture, name.clone()) {
                    self.twice.push(format!("{name} looks like {other}"));
                }
            }
        }
    }

    /// Fails if two pictures show the same: a language, scheme or page that had no effect.
    pub(crate) fn pictures_differ(&self) {
        assert_eq!(self.twice, Vec::<String>::new());
    }
}

/// Checks what holds for every page, and returns its height.
async fn inspect(browser: &Browser, name: &str, language: &str, scheme: &str, width: u32) -> u32 {
    let page = browser.script(INSPECTION).await;
    assert_eq!(page["language"], language, "{name}");
    assert_eq!(page["headlines"], 1, "{name}");
    assert_eq!(page["dark"], scheme == "dark", "{name}: the page does not follow the scheme");
    let title = page["title"].as_str().unwrap();
    assert!(!title.is_empty(), "{name} has no title");
    assert_eq!(page["width"], width, "{name} scrolls sideways");
    assert_eq!(page["outside"], Value::Array(Vec::new()), "{name}: cut off at the side");
    assert_eq!(page["small"], Value::Array(Vec::new()), "{name}: too small to read");
    assert_eq!(page["narrow"], Value::Array(Vec::new()), "{name}: too small to touch");
    u32::try_from(page["height"].as_u64().unwrap()).unwrap()
}

/// Looks at the page as it is laid out now.
const INSPECTION: &str = r"
    const root = document.documentElement;
    const shown = [...document.body.querySelectorAll('*')]
        .map(element => [element, element.getBoundingClientRect()])
        .filter(([, box]) => box.width && box.height);
    const name = ([element]) => element.outerHTML.slice(0, 80);
    const channels = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
    return {
        language: root.lang,
        title: document.title,
        headlines: document.querySelectorAll('h1').length,
        dark: channels[0] + channels[1] + channels[2] < 3 * 128,
        width: Math.max(root.scrollWidth, document.body.scrollWidth),
        height: root.scrollHeight,
        outside: shown.filter(([, box]) => box.left < 0 || box.right > innerWidth).map(name),
        small: shown.filter(([element]) => parseFloat(getComputedStyle(element).fontSize) < 12)
            .map(name),
        // WCAG 2.2 section 2.5.8 asks for 24 pixels.
        narrow: shown.filter(([element, box]) => element.matches('a, button, input')
            && Math.min(box.width, box.height) < 24).map(name),
    }";

/// Width and height of a PNG (PNG specification section 11.2.1).
fn size_of_png(file: &[u8]) -> Option<(u32, u32)> {
    let (signature, rest) = file.split_first_chunk::<16>()?;
    let (width, rest) = rest.split_first_chunk::<4>()?;
    let (height, _) = rest.split_first_chunk::<4>()?;
    (signature == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
        .then(|| (u32::from_be_bytes(*width), u32::from_be_bytes(*height)))
}
