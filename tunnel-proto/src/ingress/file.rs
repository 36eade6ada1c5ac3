//! A whole configuration file of cloudflared's.

use super::{
    configuration::Configuration,
    problem::{Problems, Report},
    reader::{Map, Place, Source},
    settings::Settings,
    value::{Entry, Kind, Value},
    yaml,
};

/// A configuration file: rules, which tunnel, and the program's settings beside them.
#[derive(Debug, Clone)]
pub struct ConfigurationFile {
    tunnel: Option<String>,
    credentials_file: Option<String>,
    configuration: Option<Configuration>,
    settings: Settings,
}

impl ConfigurationFile {
    /// Reads a file's YAML. `settings` names the keys that the program understands beside
    /// `tunnel`, `credentials-file`, `ingress`, `originRequest` and `warp-routing`, `lists` those of
    /// which a list may be given too; cloudflared takes the long name of every argument, and lists for
    /// `edge` and `tag`.
    ///
    /// ```
    /// use tunnel_proto::ingress::ConfigurationFile;
    ///
    /// let file = ConfigurationFile::parse("loglevel: info\nedge: ['a:1', 'b:2']\n", &["loglevel"], &["edge"])?;
    /// assert_eq!(file.settings().get("loglevel"), Some("info"));
    /// assert_eq!(file.settings().all("edge"), ["a:1", "b:2"]);
    /// # Ok::<(), tunnel_proto::ingress::Problems>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, unknown keys among it, and lists where one value belongs.
    pub fn parse(
        text: &str,
        settings: &[&'static str],
        lists: &[&'static str],
    ) -> Result<Self, Problems> {
        let value = yaml::parse(text)?;
        let mut report = Report::default();
        let mut file = Self {
            tunnel: None,
            credentials_file: None,
            configuration: None,
            settings: Settings::default(),
        };
        let Some(mut map) = Map::open(&Place::whole(&value, Source::File), &mut report) else {
            return report.into_result(file);
        };
        let mut text = |map: &mut Map<'_>, key| {
            map.take(key).and_then(|at| at.text(&mut report).map(str::to_owned))
        };
        file.tunnel = text(&mut map, "tunnel");
        file.credentials_file = text(&mut map, "credentials-file");
        if has(&value, "ingress") {
            file.configuration = Some(Configuration::read(&mut map, &mut report));
        } else {
            for key in ["originRequest", "warp-routing"] {
                if let Some(at) = map.take(key).filter(|at| at.value.kind != Kind::Map(Vec::new()))
                {
                    at.tell(&mut report, "stands without `ingress`, so it has no effect");
                }
            }
        }
        let (entries, unknown) = map.left();
        for entry in entries {
            let takes_list = lists.contains(&entry.key.as_str());
            if takes_list || settings.contains(&entry.key.as_str()) {
                file.setting(entry, takes_list, &mut report);
            } else {
                unknown.tell(entry, &[settings, lists].concat(), &mut report);
            }
        }
        report.into_result(file)
    }

    fn setting(&mut self, entry: &Entry, takes_list: bool, report: &mut Report) {
        let place = Place {
            path: entry.key.clone(),
            line: entry.line,
            source: Source::File,
            value: &entry.value,
        };
        let values = match &entry.value.kind {
            Kind::List(_) if takes_list => place.texts(report),
            _ => place.text(report).map(|text| vec![text.to_owned()]),
        };
        self.settings.insert(entry.key.clone(), values.unwrap_or_default());
    }

    /// The tunnel's id or name.
    pub fn tunnel(&self) -> Option<&str> {
        self.tunnel.as_deref()
    }

    /// Where the tunnel's credentials are.
    pub fn credentials_file(&self) -> Option<&str> {
        self.credentials_file.as_deref()
    }

    /// The rules, if the file has any.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// The program's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

fn has(value: &Value, key: &str) -> bool {
    matches!(&value.kind, Kind::Map(entries) if entries.iter().any(|entry| entry.key == key))
}
