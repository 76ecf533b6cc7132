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
    /// The version of this form.
    v: u8,
    /// When it ends, Unix seconds.
    expires: i64,
    /// The application's data.
    pub data: Data,
}

/// What was stored when a request loaded the session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Base {
    /// Its version.
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
        }
    }

    /// The stored bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|error| Error::Encode(error.to_string()))
    }

    /// From the stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let stored: Self =
            serde_json::from_slice(bytes).map_err(|error| Error::Decode(error.to_string()))?;
        if stored.v != 1 {
            return Err(Error::Decode(format!(
                "a session of version {}, this program reads version 1",
                stored.v
            )));
        }
        Ok(stored)
    }

    /// A record for tower-sessions that carries its base.
    pub fn into_record(self, id: Id, cas: u64) -> Result<Record, Error> {
        let expiry_date = OffsetDateTime::from_unix_timestamp(self.expires)
            .map_err(|error| Error::Decode(error.to_string()))?;
        let mut record = Record {
            id,
            data: self.data.clone(),
            expiry_date,
        };
        attach(
            &mut record,
            &Base {
                cas,
                data: self.data,
            },
        );
        Ok(record)
    }
}

/// Makes the record carry its base.
pub fn attach(record: &mut Record, base: &Base) {
    record
        .data
        .insert(BASE.into(), json!({ "cas": base.cas, "data": base.data }));
}

/// Splits a record into the application's data and the base it carries; none after `Session::clear`.
pub fn detach(record: &Record) -> (Data, Option<Base>) {
    let mut data = record.data.clone();
    let base = data.remove(BASE).and_then(|value| {
        let Value::Object(mut fields) = value else {
            return None;
        };
        let cas = fields.get("cas")?.as_u64()?;
        let Value::Object(data) = fields.remove("data")? else {
            return None;
        };
        Some(Base {
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
