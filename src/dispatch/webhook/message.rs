//! What a receiver is told, signed as Standard Webhooks says (<https://www.standardwebhooks.com>, specification 1.0.0).

use crate::job::timestamp;
use crate::store::Delivery;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// A message, ready to be sent as often as it takes: its id and body stay the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `webhook-id`: receivers tell repetitions by it. Of two messages it is never the same, whatever becomes of jobs and their ids.
    pub id: String,
    /// JSON.
    pub body: String,
}

impl Message {
    /// The message of a delivery.
    pub fn of(delivery: &Delivery) -> Self {
        let mut data = match serde_json::to_value(&delivery.event.kind) {
            Ok(Value::Object(mut tagged)) => match tagged.remove("data") {
                Some(Value::Object(members)) => members,
                _ => Map::new(),
            },
            _ => Map::new(),
        };
        data.insert("job_id".into(), json!(delivery.job));
        data.insert("url".into(), json!(format!("/v1/jobs/{}", delivery.job)));
        data.insert("seq".into(), json!(delivery.event.seq));
        data.insert("labels".into(), json!(delivery.labels));
        let body = json!({
            "type": format!("job.{}", delivery.event.kind.name()),
            "timestamp": timestamp(delivery.event.time_ms),
            "data": data,
        });
        Self { id: format!("msg_{}_{}", delivery.job.simple(), delivery.id), body: body.to_string() }
    }

    /// `webhook-signature`: `v1,` and the HMAC-SHA256 of `{id}.{timestamp}.{body}` in base64. `timestamp_s` is the moment of this
    /// try, in seconds since 1970.
    pub fn signature(&self, key: &[u8], timestamp_s: i64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
        mac.update(format!("{}.{timestamp_s}.", self.id).as_bytes());
        mac.update(self.body.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Event, EventKind, FailureReason, JobState};

    #[test]
    fn the_signature_is_that_of_the_specifications_example() {
        // The test vector of the reference libraries.
        let message = Message { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(), body: "{\"test\": 2432232314}".into() };
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(message.signature(&key, 1_614_265_330), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_message_names_its_job_and_what_happened() {
        let kind = EventKind::Ended { state: JobState::Failed, reason: Some(FailureReason::InvalidScene) };
        let delivery = Delivery {
            id: 12,
            job: crate::job::JobId::from_u128(7),
            event: Event { seq: 3, time_ms: 0, kind },
            labels: [("order".to_owned(), "4711".to_owned())].into(),
            url: "https://example.com/".into(),
            host: "example.com:443".into(),
            secret: None,
            attempt: 0,
            give_up_ms: 0,
        };
        let message = Message::of(&delivery);
        assert_eq!(message.id, "msg_00000000000000000000000000000007_12");
        let body: Value = serde_json::from_str(&message.body).unwrap();
        assert_eq!((&body["type"], &body["timestamp"]), (&json!("job.ended"), &json!("1970-01-01T00:00:00.000Z")));
        assert_eq!((&body["data"]["state"], &body["data"]["reason"]), (&json!("failed"), &json!("invalid_scene")));
        assert_eq!((&body["data"]["seq"], &body["data"]["labels"]["order"]), (&json!(3), &json!("4711")));
        assert_eq!(body["data"]["url"], "/v1/jobs/00000000-0000-0000-0000-000000000007");
        assert_eq!(Message::of(&delivery), message, "a repetition differs");
    }
}
