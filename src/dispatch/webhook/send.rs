//! One try of one message: a bounded HTTP request, and what its answer means.

use super::address::{self, PublicResolver, Refused};
use super::message::Message;
use crate::job::WebhookSecret;
use crate::limits::{WEBHOOK_CONNECT_MS, WEBHOOK_GIVE_UP_MS, WEBHOOK_TRY_MS};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use std::error::Error;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It may be had later: not before `after`, where the receiver said so.
    Retry {
        /// What happened.
        cause: String,
        /// The receiver's `Retry-After`, at most [`WEBHOOK_GIVE_UP_MS`].
        after: Option<Duration>,
        /// The host could not be reached or said nothing, whatever the address on it: others of its messages would fare no better.
        host_silent: bool,
    },
    /// The receiver wants nothing any more, or may not be called.
    Stop {
        /// Why.
        cause: String,
    },
}

/// Sends messages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    client: reqwest::Client,
    allow_private: bool,
}

/// Makes ring the crypto library of every TLS connection of this process, where nobody has chosen another one. reqwest has none of its
/// own and panics without.
pub fn install_tls() {
    // An error means that one is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Sender {
    /// Without `allow_private`, only addresses of the public internet are called (see [`address`]).
    pub fn new(allow_private: bool) -> Self {
        install_tls();
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
                // A redirect could lead anywhere, also to where the first address was not allowed to.
                .redirect(reqwest::redirect::Policy::none())
                // A proxy from the environment would resolve the name itself, unsifted.
                .no_proxy()
                .dns_resolver(PublicResolver { allow_private })
                .connect_timeout(Duration::from_millis(WEBHOOK_CONNECT_MS))
                .timeout(Duration::from_millis(WEBHOOK_TRY_MS))
                .pool_max_idle_per_host(1)
        };
        let client = builder().build().unwrap_or_else(|error| {
            tracing::warn!(%error, "this machine has no certificates of authorities; webhooks over https will fail (install ca-certificates)");
            let no_authorities = builder().tls_certs_only(std::iter::empty()).build();
            no_authorities.expect("a client that trusts nobody needs nothing of the system")
        });
        Self { client, allow_private }
    }

    /// Tells a receiver once. Takes at most [`WEBHOOK_TRY_MS`]. Of the answer only its head is read.
    pub async fn send(&self, url: &str, message: &Message, secret: Option<&WebhookSecret>) -> Outcome {
        let url = match reqwest::Url::parse(url) {
            Ok(url) => url,
            Err(error) => return Outcome::Stop { cause: format!("its address cannot be read: {error}") },
        };
        if !self.allow_private
            && let Err(refused) = address::check_literal(&url)
        {
            return Outcome::Stop { cause: refused.to_string() };
        }
        let timestamp_s = OffsetDateTime::now_utc().unix_timestamp();
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp_s);
        if let Some(key) = secret.and_then(WebhookSecret::key) {
            request = request.header("webhook-signature", message.signature(&key, timestamp_s));
        }
        match request.body(message.body.clone()).send().await {
            Ok(answer) => {
                let after = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
                of_status(answer.status(), after)
            }
            Err(error) => of_error(&error),
        }
    }
}

fn of_status(status: StatusCode, after: Option<Duration>) -> Outcome {
    match status {
        status if status.is_success() => Outcome::Delivered,
        StatusCode::GONE => Outcome::Stop { cause: "the receiver answered 410 Gone".into() },
        status if status.is_redirection() => {
            let cause = format!("the receiver answered {}, and redirects are not followed", status.as_u16());
            Outcome::Retry { cause, after: None, host_silent: false }
        }
        status => {
            Outcome::Retry { cause: format!("the receiver answered {}", status.as_u16()), after, host_silent: false }
        }
    }
}

fn of_error(error: &reqwest::Error) -> Outcome {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    let mut last = error.to_string();
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return Outcome::Stop { cause: refused.to_string() };
        }
        last = inner.to_string();
        cause = inner.source();
    }
    let cause = if error.is_timeout() { "the receiver did not answer in time".to_owned() } else { last };
    Outcome::Retry { cause, after: None, host_silent: error.is_connect() || error.is_timeout() }
}

/// Seconds, or an HTTP date (RFC 9110, section 10.2.3). The receiver may write any number; beyond [`WEBHOOK_GIVE_UP_MS`] all are alike.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
            Duration::try_from(date - OffsetDateTime::now_utc()).ok()?
        }
    };
    Some(after.min(Duration::from_millis(WEBHOOK_GIVE_UP_MS.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_specification_says() {
        let of = |status: u16| of_status(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(7)));
        for status in [200, 201, 204, 299] {
            assert_eq!(of(status), Outcome::Delivered);
        }
        assert!(matches!(of(410), Outcome::Stop { .. }));
        assert!(matches!(of(302), Outcome::Retry { after: None, .. }));
        for status in [400, 404, 429, 500, 503] {
            assert!(
                matches!(of(status), Outcome::Retry { after: Some(after), .. } if after.as_secs() == 7),
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 120 "), Some(Duration::from_secs(120)));
        let longest = Duration::from_millis(WEBHOOK_GIVE_UP_MS.unsigned_abs());
        for text in ["Fri, 31 Dec 9999 23:59:59 GMT", "18446744073709551615", "9999999999"] {
            assert_eq!(retry_after(text), Some(longest), "{text}");
        }
        for text in ["", "soon", "-5", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(text), None, "{text}");
        }
    }
}
