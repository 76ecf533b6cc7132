//! What a request changed, put into what others have stored meanwhile.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// A session's data, as tower-sessions has it.
pub type Data = HashMap<String, Value>;

/// Applies the changes from `base` (what the request loaded) to `mine` (what it leaves) to `current` (what is stored
/// now). Keys the request did not change stay as they are now; of a key that both changed the objects are merged by
/// their own keys, anything else takes the request's value.
pub fn merge(base: &Data, mine: &Data, mut current: Data) -> Data {
    current.retain(|key, _| mine.contains_key(key) || !base.contains_key(key));
    for (key, value) in mine {
        let before = base.get(key);
        if before != Some(value) {
            let now = current.remove(key);
            current.insert(key.clone(), changed(before, value, now));
        }
    }
    current
}

/// One changed value: an object that is one in all versions is merged, as far as it is there.
fn changed(base: Option<&Value>, mine: &Value, current: Option<Value>) -> Value {
    let empty = Map::new();
    let base = match base {
        None => &empty,
        Some(Value::Object(base)) => base,
        Some(_) => return mine.clone(),
    };
    let (Value::Object(mine_fields), Some(Value::Object(mut merged))) = (mine, current) else {
        return mine.clone();
    };
    merged.retain(|key, _| mine_fields.contains_key(key) || !base.contains_key(key));
    for (key, value) in mine_fields {
        let before = base.get(key);
        if before != Some(value) {
            let now = merged.remove(key);
            merged.insert(key.clone(), changed(before, value, now));
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(pairs: &[(&str, i64)]) -> Data {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect()
    }

    #[test]
    fn changes_of_two_requests_to_different_keys_are_both_kept() {
        let base = data(&[("a", 1), ("b", 1)]);
        let merged = merge(
            &base,
            &data(&[("a", 2), ("b", 1)]),
            data(&[("a", 1), ("b", 3), ("c", 4)]),
        );
        assert_eq!(merged, data(&[("a", 2), ("b", 3), ("c", 4)]));
    }

    #[test]
    fn a_removed_key_goes_and_an_untouched_one_that_another_removed_stays_gone() {
        let base = data(&[("a", 1), ("b", 1)]);
        let merged = merge(&base, &data(&[("b", 1)]), data(&[("a", 1)]));
        assert_eq!(merged, data(&[]));
    }

    #[test]
    fn an_object_that_both_changed_is_merged_by_its_keys() {
        let of = |value: Value| Data::from([("attributes".to_owned(), value)]);
        let base = of(serde_json::json!({"a": 1, "gone": 1}));
        let mine = of(serde_json::json!({"a": 1, "mine": 2}));
        let current = of(serde_json::json!({"a": 5, "gone": 1, "theirs": 3}));
        let expected = of(serde_json::json!({"a": 5, "mine": 2, "theirs": 3}));
        assert_eq!(merge(&base, &mine, current), expected);
        let both_new = merge(
            &Data::new(),
            &of(serde_json::json!({"x": 1})),
            of(serde_json::json!({"y": 2})),
        );
        assert_eq!(both_new, of(serde_json::json!({"x": 1, "y": 2})));
    }

    fn any_data() -> impl Strategy<Value = Data> {
        let leaf = (0..3i64).prop_map(Value::from);
        let value = leaf.prop_recursive(2, 8, 3, |inner| {
            proptest::collection::hash_map("[a-c]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect()))
        });
        proptest::collection::hash_map("[a-e]", value, 0..5)
    }

    proptest! {
        #[test]
        fn without_a_conflict_the_requests_data_is_the_result(base in any_data(), mine in any_data()) {
            prop_assert_eq!(merge(&base, &mine, base.clone()), mine);
        }

        #[test]
        fn a_request_that_changed_nothing_changes_nothing(base in any_data(), current in any_data()) {
            prop_assert_eq!(merge(&base, &base, current.clone()), current);
        }

        #[test]
        fn merging_twice_is_merging_once(base in any_data(), mine in any_data(), current in any_data()) {
            let once = merge(&base, &mine, current);
            prop_assert_eq!(merge(&base, &mine, once.clone()), once);
        }
    }
}
