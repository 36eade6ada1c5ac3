//! Host names that cloudflared answers itself.

/// Whether a host, with or without a port, is one that cloudflared answers with its management service,
/// before any rule of its operator's. That service checks no signature, so whoever reaches it reads the
/// connector's logs and memory: the edge lets nobody through (cloudflared's
/// `--management-hostname`, cmd/cloudflared/tunnel/cmd.go, and credentials/credentials.go).
pub(crate) fn is_management(host: &str) -> bool {
    // Go takes brackets off whatever stands in them.
    let host = host.trim_start_matches('[');
    let name = host.split([':', ']']).next().unwrap_or_default().trim_end_matches('.');
    ["management.argotunnel.com", "management.fed.argotunnel.com"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}
