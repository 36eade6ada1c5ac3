//! A whole configuration file of cloudflared's.

use super::{
    configuration::Configuration,
    problem::{Problems, Report},
    reader::{Map, Place, Source, Unknown},
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
    /// `tunnel`, `credentials-file`, `ingress`, `originRequest` and `warp-routing`; cloudflared
    /// takes the long name of every argument.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, unknown keys among it.
    pub fn parse(text: &str, settings: &[&'static str]) -> Result<Self, Problems> {
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
            file.setting(entry, &unknown, settings, &mut report);
        }
        report.into_result(file)
    }

    fn setting(
        &mut self,
        entry: &Entry,
        unknown: &Unknown,
        known: &[&'static str],
        report: &mut Report,
    ) {
        if !known.contains(&entry.key.as_str()) {
            return unknown.tell(entry, known, report);
        }
        let place = Place {
            path: entry.key.clone(),
            line: entry.line,
            source: Source::File,
            value: &entry.value,
        };
        let values = match &entry.value.kind {
            Kind::List(_) => place.texts(report),
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
