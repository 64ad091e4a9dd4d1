//! One mapping laid over another, as `extends` and several documents do it.

use std::collections::HashMap;

use super::yaml::{Map, Mark, Node, Value};

/// `over` laid over `base`: mappings are joined key by key, lists one behind the other, and all else is
/// replaced, but by nothing (a key without a value), which leaves what was there.
pub(super) fn merged(base: Node, over: Node) -> Node {
    if over.mark != Mark::Usual {
        return over;
    }
    let Node { place, mark, value } = over;
    let value = match (base.value, value) {
        (Value::Map(base), Value::Map(over)) => Value::Map(joined(base, over)),
        (Value::List(mut base), Value::List(over)) => {
            base.extend(over);
            Value::List(base)
        }
        (value, Value::Null) => {
            let place = base.place;
            return Node { place, mark, value };
        }
        (_, over) => over,
    };
    Node { place, mark, value }
}

fn joined(mut base: Map, over: Map) -> Map {
    let mut places: HashMap<String, usize> = base
        .iter()
        .enumerate()
        .map(|(at, (key, _))| (key.text.clone(), at))
        .collect();
    for (key, node) in over {
        let there = places.get(&key.text).and_then(|at| base.get_mut(*at));
        let Some((written, old)) = there else {
            places.insert(key.text.clone(), base.len());
            base.push((key, node));
            continue;
        };
        let hollow = Node {
            place: old.place,
            mark: old.mark,
            value: Value::Null,
        };
        let before = std::mem::replace(old, hollow);
        if !matches!(node.value, Value::Null) || node.mark != Mark::Usual {
            *written = key;
        }
        *old = merged(before, node);
    }
    base
}

/// Takes away what is marked to be.
pub(super) fn without_reset(node: &mut Node) {
    match &mut node.value {
        Value::Map(map) => {
            map.retain(|(_, node)| node.mark != Mark::Reset);
            for (_, node) in map {
                without_reset(node);
            }
        }
        Value::List(list) => {
            list.retain(|node| node.mark != Mark::Reset);
            list.iter_mut().for_each(without_reset);
        }
        Value::Null | Value::Text(_) | Value::Other(_) => {}
    }
}
