//! The line of a file on which a key stands.
//!
//! Merged values have lost their places, and a YAML parser of our own would be one too many. So the
//! file is parsed once more by a visitor that walks along the path and raises an error when it
//! arrives: the parser stamps every error with its place.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::path::{FieldPath, Segment};

/// The line, counted from 1, on which `path` stands in `text`, a YAML mapping; the line of its
/// nearest ancestor where `text` does not go so deep.
pub(super) fn line_of(text: &str, path: &FieldPath) -> Option<usize> {
    let segments = path.segments();
    (1..=segments.len()).rev().find_map(|depth| {
        let walk = Walk(&segments[..depth]);
        let arrived = walk
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .err()?;
        arrived.location().map(|location| location.line())
    })
}

const ARRIVED: &str = "arrived";

/// Walks along the segments; an empty way has arrived.
struct Walk<'a>(&'a [Segment]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Segment::Key(wanted), rest)) = self.0.split_first() else {
            return if self.0.is_empty() {
                Err(A::Error::custom(ARRIVED))
            } else {
                skip(map)
            };
        };
        let key = KeySeed {
            wanted,
            last: rest.is_empty(),
        };
        while let Some(found) = map.next_key_seed(&key)? {
            if found {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let wanted = match self.0.split_first() {
            None => return Err(A::Error::custom(ARRIVED)),
            Some((Segment::Index(wanted), rest)) => Some((*wanted, rest)),
            Some((Segment::Key(_), _)) => None,
        };
        for index in 0.. {
            let more = match wanted {
                Some((wanted, rest)) if wanted == index => {
                    list.next_element_seed(Walk(rest))?.is_some()
                }
                _ => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }
}

impl Walk<'_> {
    fn scalar<E: Error>(&self) -> Result<(), E> {
        if self.0.is_empty() {
            Err(E::custom(ARRIVED))
        } else {
            Ok(())
        }
    }
}

fn skip<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Says whether a key is the wanted one; at the end of the way it raises the error itself, so that
/// the place is the key's and not that of a value which may begin lines below.
struct KeySeed<'a> {
    wanted: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for &KeySeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for &KeySeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.last => Err(E::custom(ARRIVED)),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
listen: 127.0.0.1:1
limits:
  # another
  sessions: 4

  peers:
    - name: a
    - name: b
      rate: 7
log: {level: info, format:
   text}
";

    fn line(path: &str) -> Option<usize> {
        line_of(TEXT, &FieldPath::dotted(path))
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        assert_eq!(line("listen"), Some(2));
        assert_eq!(line("limits"), Some(3));
        assert_eq!(line("limits.sessions"), Some(5));
        assert_eq!(line("limits.peers"), Some(7));
        assert_eq!(line("log.level"), Some(11));
        assert_eq!(line("log.format"), Some(11));
    }

    #[test]
    fn items_of_lists_are_found() {
        let mut path = FieldPath::dotted("limits.peers");
        path.push_index(1);
        assert_eq!(line_of(TEXT, &path), Some(9));
        path.push_key("rate");
        assert_eq!(line_of(TEXT, &path), Some(10));
    }

    #[test]
    fn what_is_not_there_is_found_at_its_nearest_ancestor() {
        assert_eq!(line("limits.sessions.deeper"), Some(5));
        assert_eq!(line("limits.unknown"), Some(3));
        assert_eq!(line("unknown"), None);
    }
}
