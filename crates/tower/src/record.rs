//! A session as it is stored, and what a loaded one carries so that its save can be merged.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::Error;

use crate::merge::Data;

/// The key under which a loaded record carries its [`Base`]. Sessions cannot use it; it is never stored.
const BASE: &str = "\u{0}tandem";
/// Above this many seconds memcached takes an exptime for a Unix time.
const RELATIVE_LIMIT: i64 = 60 * 60 * 24 * 30;

/// The stored form: JSON, so that other programs can read it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The version of this form: 1 for a session, 2 for what is left of one.
    v: u8,
    /// When it ends, Unix seconds.
    expires: i64,
    /// The application's data.
    pub data: Data,
    /// Set when the session is not to be had under this id any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// What became of a session that was under an id. Kept for a short while, for requests that loaded it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// A request is giving it another id; its data is still here.
    Moving,
    /// It has this id now.
    Moved(String),
    /// It was ended by one who knew this id.
    Ended,
    /// It was ended by one who knew the id that it had before.
    EndedBefore,
}

/// What was stored when a request loaded the session.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// The id it was loaded by.
    pub id: Id,
    /// Its version; 0 when this request made it.
    pub cas: u64,
    /// Its data.
    pub data: Data,
}

impl Stored {
    /// What to store of `data` for `record`.
    pub fn new(record: &Record, data: Data) -> Self {
        Self {
            v: 1,
            expires: record.expiry_date.unix_timestamp(),
            data,
            left: None,
        }
    }

    /// What to leave at an id that leads nowhere any more.
    pub fn left(left: Left, expires: i64, data: Data) -> Self {
        Self {
            v: 2,
            expires,
            data,
            left: Some(left),
        }
    }

    /// When the session ends, Unix seconds.
    pub fn expires(&self) -> i64 {
        self.expires
    }

    /// The stored bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|error| Error::Encode(error.to_string()))
    }

    /// From the stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let stored: Self =
            serde_json::from_slice(bytes).map_err(|error| Error::Decode(error.to_string()))?;
        if stored.v != 1 + u8::from(stored.left.is_some()) {
            return Err(Error::Decode(format!(
                "a session of version {}, this program reads versions 1 and 2",
                stored.v
            )));
        }
        Ok(stored)
    }

    /// A record for tower-sessions, known to it as `alias`, that carries its base.
    pub fn into_record(self, id: Id, alias: Id, cas: u64) -> Result<Record, Error> {
        let expiry_date = OffsetDateTime::from_unix_timestamp(self.expires)
            .map_err(|error| Error::Decode(error.to_string()))?;
        let data = self.data;
        let mut record = Record {
            id: alias,
            data: data.clone(),
            expiry_date,
        };
        attach(&mut record, &Base { id, cas, data });
        Ok(record)
    }
}

/// Makes the record carry its base.
pub fn attach(record: &mut Record, base: &Base) {
    let id = base.id.to_string();
    record.data.insert(
        BASE.into(),
        json!({ "id": id, "cas": base.cas, "data": base.data }),
    );
}

/// Splits a record into the application's data and the base it carries; none after `Session::clear`.
pub fn detach(record: &Record) -> (Data, Option<Base>) {
    let mut data = record.data.clone();
    let base = data.remove(BASE).and_then(|value| {
        let Value::Object(mut fields) = value else {
            return None;
        };
        let id = fields.get("id")?.as_str()?.parse().ok()?;
        let cas = fields.get("cas")?.as_u64()?;
        let Value::Object(data) = fields.remove("data")? else {
            return None;
        };
        Some(Base {
            id,
            cas,
            data: data.into_iter().collect(),
        })
    });
    (data, base)
}

/// The item's exptime: rounded up, so that the item does not end before the session.
pub fn exptime(record: &Record) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as i64;
    let left = record.expiry_date.unix_timestamp() + 1 - now;
    match left {
        ..=0 => -1,
        1..=RELATIVE_LIMIT => left,
        _ => now + left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let data = Data::from([("cart".to_owned(), json!([1, 2]))]);
        Record {
            id: Id(5),
            data,
            expiry_date: OffsetDateTime::now_utc() + time::Duration::hours(1),
        }
    }

    #[test]
    fn a_record_carries_its_base_and_gives_it_back() {
        let mut carrying = record();
        let base = Base {
            id: Id(-7),
            cas: u64::MAX,
            data: record().data,
        };
        attach(&mut carrying, &base);
        assert_eq!(detach(&carrying), (record().data, Some(base)));
        assert_eq!(detach(&record()), (record().data, None));
    }

    #[test]
    fn the_base_is_never_stored() {
        let stored = Stored::new(&record(), record().data);
        let bytes = stored.encode().unwrap();
        assert_eq!(Stored::decode(&bytes).unwrap(), stored);
        assert!(!String::from_utf8(bytes).unwrap().contains("tandem"));
        assert!(Stored::decode(br#"{"v":2,"expires":1,"data":{}}"#).is_err());
    }

    #[test]
    fn what_is_left_of_a_session_is_none_for_programs_that_know_version_1_only() {
        for left in [Left::Moving, Left::Moved(Id(9).to_string()), Left::Ended] {
            let stored = Stored::left(left, 1, Data::new());
            let bytes = stored.encode().unwrap();
            assert_eq!(Stored::decode(&bytes).unwrap(), stored);
            assert!(String::from_utf8(bytes).unwrap().contains("\"v\":2"));
        }
        let wrong = br#"{"v":1,"expires":1,"data":{},"left":"ended"}"#;
        assert!(Stored::decode(wrong).is_err());
    }

    #[test]
    fn an_item_does_not_end_before_its_session() {
        assert!((3600..=3601).contains(&exptime(&record())));
        let long = Record {
            expiry_date: OffsetDateTime::now_utc() + time::Duration::days(60),
            ..record()
        };
        assert!(exptime(&long) > RELATIVE_LIMIT, "an absolute time");
        let over = Record {
            expiry_date: OffsetDateTime::now_utc() - time::Duration::days(1),
            ..record()
        };
        assert_eq!(exptime(&over), -1);
    }
}
