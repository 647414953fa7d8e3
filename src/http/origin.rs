//! Keeps other people's web pages out: a browser runs their scripts on the user's own machine, behind every firewall.
//!
//! Two rules, before anything else looks at a request. A request that a browser sends for a page carries that page's `Origin`,
//! which must be this server's own. And the server must be called by a name that no stranger can have: a page can point its own
//! domain's name at this server's address, on loopback or in a private network, and so share an origin with it (DNS rebinding); then
//! its requests for reading carry no `Origin` at all, and only `Host` tells. There are no keys that such a page would lack. So numbers
//! are answered, loopback names, names without a dot (those of containers and of a local network, which nobody can register), and what
//! the operator has named; a server on a loopback address answers loopback numbers and names only.

use super::problem::{Kind, Problem};
use super::{AppState, shown};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Which names this server answers to.
#[derive(Debug, Clone, Default)]
pub struct HostRule {
    /// The server listens on a loopback address.
    pub loopback: bool,
    /// Names that are the server's own besides: those that it has in DNS, or that a proxy hands on. With a port where pages of that
    /// name come from another port than 80 (http) and 443 (https).
    pub allowed: Arc<[String]>,
}

impl HostRule {
    /// True where a server with this rule may be called by this name.
    fn knows(&self, authority: &Authority) -> bool {
        let host = bare(authority);
        let unregistered = || host.parse::<IpAddr>().is_ok() || !host.trim_end_matches('.').contains('.');
        is_loopback(host)
            || (!self.loopback && unregistered())
            || self.names().any(|name| bare(&name).eq_ignore_ascii_case(host))
    }

    /// True for the pages of a name that the operator has allowed, from the port that belongs to it.
    fn allows(&self, scheme: &str, origin: &Authority) -> bool {
        self.names()
            .any(|name| bare(&name).eq_ignore_ascii_case(bare(origin)) && port(&name, scheme) == port(origin, scheme))
    }

    fn names(&self) -> impl Iterator<Item = Authority> + '_ {
        self.allowed.iter().filter_map(|name| name.parse().ok())
    }
}

/// The middleware. See the module's text.
pub async fn guard(State(app): State<AppState>, request: Request, next: Next) -> Response {
    match check(&app.hosts, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(rule: &HostRule, request: &Request) -> Result<(), Problem> {
    let mut called = Vec::new();
    for value in request.headers().get_all(header::HOST) {
        let parsed = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
        called.push(parsed.ok_or_else(|| Problem::new(Kind::InvalidHeader, "Host: expected a name or an address."))?);
    }
    // A request line with a whole address says it once more.
    called.extend(request.uri().authority().cloned());
    if let Some(foreign) = called.iter().find(|authority| !rule.knows(authority)) {
        let detail = format!(
            "This server was called as {}, which is none of its names. Call it by {}, or start it with --allowed-host {} if that is its \
             name or a proxy's in front of it.",
            shown(foreign.as_str()),
            if rule.loopback { "localhost" } else { "its address" },
            shown(bare(foreign))
        );
        return Err(Problem::new(Kind::ForbiddenHost, detail));
    }
    check_origin(rule, request.headers(), called.first())
}

fn check_origin(rule: &HostRule, headers: &HeaderMap, called: Option<&Authority>) -> Result<(), Problem> {
    for value in headers.get_all(header::ORIGIN) {
        let own = value.to_str().ok().and_then(parse_origin).is_some_and(|(scheme, origin)| {
            let same = called.is_some_and(|called| {
                bare(&origin).eq_ignore_ascii_case(bare(called)) && port(&origin, scheme) == port(called, scheme)
            });
            same || rule.allows(scheme, &origin)
        });
        if !own {
            let found = shown(&String::from_utf8_lossy(value.as_bytes()));
            let detail = format!(
                "The request comes from a page of {found}, and this server answers only to its own pages. Call it from a program, or \
                 let the page's own server call it; or start this server with --allowed-host and the page's host (with its port, if it \
                 has one) if the page is this server's."
            );
            return Err(Problem::new(Kind::ForbiddenOrigin, detail));
        }
    }
    Ok(())
}

/// `https://example.com:8443` in parts; `None` for `null` and everything else that names no host.
fn parse_origin(text: &str) -> Option<(&str, Authority)> {
    let (scheme, authority) = text.split_once("://")?;
    matches!(scheme, "http" | "https").then_some(())?;
    Some((scheme, authority.parse().ok()?))
}

/// The host without its port and without the brackets of an IPv6 address.
fn bare(authority: &Authority) -> &str {
    authority.host().trim_start_matches('[').trim_end_matches(']')
}

fn port(authority: &Authority, scheme: &str) -> u16 {
    authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 })
}

/// `localhost`, its subdomains (RFC 6761, section 6.3), and loopback addresses.
fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let by_name = name == "localhost" || name.ends_with(".localhost");
    by_name || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn kind(rule: &HostRule, fields: &[(&str, &str)]) -> Option<Kind> {
        let mut request = Request::builder().uri("/v1/jobs");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(rule, &request.body(Body::empty()).unwrap()).err().map(|problem| problem.kind())
    }

    #[test]
    fn a_server_on_loopback_answers_to_loopback_names_only() {
        let rule = HostRule { loopback: true, allowed: Arc::from(["render.example".to_owned()]) };
        for own in [
            "localhost",
            "LocalHost:8080",
            "kiln.localhost:1",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
            "Render.Example",
        ] {
            assert_eq!(kind(&rule, &[("host", own)]), None, "{own}");
            assert_eq!(kind(&HostRule { loopback: false, ..rule.clone() }, &[("host", own)]), None, "{own}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "10.0.0.1:8080", "[fe80::1]", "127.0.0.1.nip.io"] {
            assert_eq!(kind(&rule, &[("host", foreign)]), Some(Kind::ForbiddenHost), "{foreign}");
        }
        assert_eq!(kind(&rule, &[("host", "localhost"), ("host", "evil.example")]), Some(Kind::ForbiddenHost));
        assert_eq!(kind(&rule, &[]), None);
        assert_eq!(kind(&rule, &[("host", "a b")]), Some(Kind::InvalidHeader));
    }

    #[test]
    fn a_server_that_others_can_reach_answers_to_no_name_that_a_stranger_could_point_at_it() {
        let rule = HostRule { loopback: false, allowed: Arc::from(["render.example".to_owned()]) };
        for own in ["10.0.0.1:8080", "[fe80::1]", "localhost", "kiln:8080", "render.example:8080", "RENDER.example"] {
            assert_eq!(kind(&rule, &[("host", own)]), None, "{own}");
        }
        for foreign in ["evil.example", "evil.example:8080", "10.0.0.1.nip.io", "render.example.evil.example"] {
            assert_eq!(kind(&rule, &[("host", foreign)]), Some(Kind::ForbiddenHost), "{foreign}");
            let origin = format!("http://{foreign}");
            assert_eq!(kind(&rule, &[("host", foreign), ("origin", &origin)]), Some(Kind::ForbiddenHost), "{foreign}");
        }
    }

    #[test]
    fn an_allowed_name_allows_the_pages_of_its_own_port_only() {
        let allowed = ["render.example".to_owned(), "farm.example:8443".to_owned()];
        let rule = HostRule { loopback: true, allowed: Arc::from(allowed) };
        let from = |origin| kind(&rule, &[("host", "127.0.0.1:8080"), ("origin", origin)]);
        for own in
            ["https://render.example", "http://render.example", "http://render.example:80", "https://farm.example:8443"]
        {
            assert_eq!(from(own), None, "{own}");
        }
        for other in ["http://render.example:3000", "https://render.example:80", "https://farm.example"] {
            assert_eq!(from(other), Some(Kind::ForbiddenOrigin), "{other}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused_and_own_ones_are_not() {
        let rule = HostRule { loopback: false, allowed: Arc::from(["render.example".to_owned()]) };
        let from = |host, origin| kind(&rule, &[("host", host), ("origin", origin)]);
        assert_eq!(from("localhost:8080", "http://localhost:8080"), None);
        assert_eq!(from("kiln", "https://kiln"), None);
        assert_eq!(from("kiln:443", "https://kiln"), None);
        assert_eq!(from("127.0.0.1:8080", "https://render.example"), None);
        for origin in [
            "http://localhost:3000",
            "http://evil.example",
            "null",
            "",
            "file://",
            "http://localhost:8080.evil.example",
        ] {
            assert_eq!(from("localhost:8080", origin), Some(Kind::ForbiddenOrigin), "{origin}");
        }
    }
}
