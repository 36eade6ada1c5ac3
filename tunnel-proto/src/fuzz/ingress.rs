//! Configurations, from a file or pushed.

use crate::ingress::{Configuration, ConfigurationFile, Problems, Settings};

/// A configuration, read as a file of rules, as a whole file of cloudflared's, and as a push. What
/// can't be used is told on one line; what can be used leads every request somewhere.
pub fn ingress(data: &[u8]) {
    match Configuration::from_json(data) {
        Ok(configuration) => check(&configuration),
        Err(problems) => check_problems(&problems, None),
    }
    let Ok(yaml) = str::from_utf8(data) else { return };
    let lines = yaml.split(['\n', '\r']).count();
    match Configuration::from_yaml(yaml) {
        Ok(configuration) => check(&configuration),
        Err(problems) => check_problems(&problems, Some(lines)),
    }
    match ConfigurationFile::parse(yaml, &["loglevel", "token"], &["edge"]) {
        Ok(file) => file.configuration().into_iter().for_each(check),
        Err(problems) => check_problems(&problems, Some(lines)),
    }
}

fn check(configuration: &Configuration) {
    let rules = configuration.rules();
    let (index, _) = configuration.find("elsewhere.test", "/%ff/../x");
    assert!(index < rules.len(), "the last rule is for everything");
    for (at, rule) in rules.iter().enumerate() {
        let host = rule.hostname().replacen('*', "x", 1);
        if host.is_ascii() && rule.path().is_none() {
            let (found, _) = configuration.find(&host, "/");
            assert!(found <= at, "`{host}` is not for its own rule");
        }
        let told = rule.service().to_string();
        let again = Configuration::single(&told).expect("a service that was told can be read");
        assert_eq!(again.rules()[0].service(), rule.service());
        assert!(rule.to_string().lines().count() <= 3, "one line for each key");
    }
    let told = configuration.to_local_configuration_json(&Settings::default());
    let told: serde_json::Value = serde_json::from_str(&told).expect("what is told is JSON");
    assert_eq!(told["ingress"].as_array().map(Vec::len), Some(rules.len()));
}

fn check_problems(problems: &Problems, lines: Option<usize>) {
    assert!(problems.iter().next().is_some(), "a refusal says why");
    let told = problems.to_string();
    assert!(!told.chars().any(char::is_control), "a text of the file's breaks out: {told:?}");
    for problem in problems {
        if let (Some(line), Some(lines)) = (problem.line(), lines) {
            assert!((1..=lines + 1).contains(&line), "line {line} of {lines}");
        }
    }
}
