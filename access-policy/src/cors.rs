//! Cross-origin settings of an application, with which the edge answers preflight requests itself.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    document::Place,
    error::{Error, Kind},
    request::Preflight,
};

/// Which other origins may call the application (`cors_headers`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the fields of the API")]
pub struct Cors {
    /// Any header is welcome.
    pub allow_all_headers: bool,
    /// Any method is welcome.
    pub allow_all_methods: bool,
    /// Any origin is welcome; not together with credentials.
    pub allow_all_origins: bool,
    /// Headers that are welcome.
    pub allowed_headers: Vec<String>,
    /// Methods that are welcome.
    pub allowed_methods: Vec<String>,
    /// Origins that are welcome.
    pub allowed_origins: Vec<String>,
    /// Cookies may be sent.
    pub allow_credentials: bool,
    /// For how many seconds a browser may remember the answer; -1 forbids it.
    pub max_age: Option<i32>,
}

impl Cors {
    /// Returns the headers that answer a preflight request; none at all if it is not welcome.
    pub fn answer(&self, preflight: &Preflight<'_>) -> Vec<(&'static str, String)> {
        let lists = |list: &[String], wanted: &str| list.iter().any(|known| known == wanted);
        let is_origin = self.allow_all_origins || lists(&self.allowed_origins, preflight.origin);
        let is_method = self.allow_all_methods || lists(&self.allowed_methods, preflight.method);
        if !is_origin || !is_method {
            return Vec::new();
        }
        let origin = if self.allow_all_origins { "*" } else { preflight.origin };
        let headers = if self.allow_all_headers {
            preflight.headers.to_owned()
        } else {
            self.allowed_headers.join(", ")
        };
        let mut answer = vec![
            ("access-control-allow-origin", origin.to_owned()),
            ("access-control-allow-methods", self.methods(preflight)),
            ("vary", "origin".to_owned()),
        ];
        if !headers.is_empty() {
            answer.push(("access-control-allow-headers", headers));
        }
        if self.allow_credentials {
            answer.push(("access-control-allow-credentials", "true".to_owned()));
        }
        if let Some(seconds) = self.max_age {
            answer.push(("access-control-max-age", seconds.to_string()));
        }
        answer
    }

    fn methods(&self, preflight: &Preflight<'_>) -> String {
        if self.allow_all_methods {
            preflight.method.to_owned()
        } else {
            self.allowed_methods.join(", ")
        }
    }

    pub(crate) fn import(place: &Place<'_>) -> Result<Self, Error> {
        let mut cors = Self::default();
        let strings = |field: &Place<'_>| field.collect(|text| text.string().map(str::to_owned));
        for field in place.fields()? {
            match field.name() {
                "allow_all_headers" => cors.allow_all_headers = field.boolean()?,
                "allow_all_methods" => cors.allow_all_methods = field.boolean()?,
                "allow_all_origins" => cors.allow_all_origins = field.boolean()?,
                "allow_credentials" => cors.allow_credentials = field.boolean()?,
                "allowed_headers" => cors.allowed_headers = strings(&field)?,
                "allowed_methods" => cors.allowed_methods = strings(&field)?,
                "allowed_origins" => cors.allowed_origins = strings(&field)?,
                "max_age" => {
                    let seconds = i32::try_from(field.integer()?).ok();
                    let problem = "`max_age` lies between -1 and 86400";
                    cors.max_age = Some(
                        seconds
                            .filter(|seconds| (-1..=86_400).contains(seconds))
                            .ok_or_else(|| field.error(Kind::Contradiction(problem)))?,
                    );
                }
                _ => field.tolerate(field.unknown_field()),
            }
        }
        cors.check().map_err(|problem| place.error(Kind::Contradiction(problem)))?;
        Ok(cors)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.allow_all_methods != self.allowed_methods.is_empty() {
            return Err("give either `allow_all_methods` or `allowed_methods`");
        }
        if self.allow_all_origins != self.allowed_origins.is_empty() {
            return Err("give either `allow_all_origins` or `allowed_origins`");
        }
        if self.allow_all_origins && self.allow_credentials {
            return Err("`allow_all_origins` can't go with `allow_credentials`");
        }
        Ok(())
    }
}

impl Serialize for Cors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in [
            ("allow_all_headers", self.allow_all_headers),
            ("allow_all_methods", self.allow_all_methods),
            ("allow_all_origins", self.allow_all_origins),
            ("allow_credentials", self.allow_credentials),
        ] {
            if value {
                map.serialize_entry(name, &true)?;
            }
        }
        for (name, list) in [
            ("allowed_headers", &self.allowed_headers),
            ("allowed_methods", &self.allowed_methods),
            ("allowed_origins", &self.allowed_origins),
        ] {
            if !list.is_empty() {
                map.serialize_entry(name, list)?;
            }
        }
        if let Some(seconds) = self.max_age {
            map.serialize_entry("max_age", &seconds)?;
        }
        map.end()
    }
}
