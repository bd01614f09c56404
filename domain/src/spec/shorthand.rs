//! One visitor for every value that may be written short.
//!
//! `serde(untagged)` would buffer the value and lose its line and column, so a type that accepts text, a number or a mapping
//! implements [`Shorthand`] instead and is read straight from the parser.

use std::fmt;
use std::marker::PhantomData;

use schemars::{Schema, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

pub(crate) trait Shorthand: Sized {
    /// Completes "expected …" in error messages.
    const EXPECTING: &'static str;

    fn from_text(text: &str) -> Result<Self, String>;

    fn from_integer(number: i64) -> Result<Self, String> {
        Self::from_text(&number.to_string())
    }

    fn from_float(number: f64) -> Result<Self, String> {
        Err(format!("`{number}` is not {}", Self::EXPECTING))
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Err(format!("`{value}` is not {}", Self::EXPECTING))
    }

    fn from_map<'de, A: MapAccess<'de>>(_map: A) -> Result<Self, A::Error> {
        Err(de::Error::invalid_type(Unexpected::Map, &Self::EXPECTING))
    }

    fn from_seq<'de, A: SeqAccess<'de>>(_seq: A) -> Result<Self, A::Error> {
        Err(de::Error::invalid_type(Unexpected::Seq, &Self::EXPECTING))
    }
}

struct ShorthandVisitor<T>(PhantomData<T>);

impl<'de, T: Shorthand> Visitor<'de> for ShorthandVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTING)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::from_integer(number).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        match i64::try_from(number) {
            Ok(number) => T::from_integer(number).map_err(E::custom),
            Err(_) => Err(E::custom(format!("`{number}` is too large"))),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        T::from_float(number).map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        T::from_bool(value).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::from_seq(seq)
    }
}

pub(crate) fn read<'de, T: Shorthand, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(ShorthandVisitor(PhantomData))
}

/// Reads the long form (a mapping) of a value that also has a short one.
pub(crate) fn long_form<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    map: A,
) -> Result<T, A::Error> {
    T::deserialize(MapAccessDeserializer::new(map))
}

/// `impl Deserialize` and the schema for a type that implements [`Shorthand`]: the kinds of JSON it may be written as in short,
/// then its long forms.
macro_rules! deserialize_shorthand {
    ($name:ident: [$($kind:literal),*] $(, $long:ty)*) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::spec::shorthand::read(deserializer)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let long = [$(_generator.subschema_for::<$long>()),*];
                $crate::spec::shorthand::schema(
                    <$name as $crate::spec::shorthand::Shorthand>::EXPECTING,
                    &[$($kind),*],
                    &long,
                )
            }
        }
    };
}
pub(crate) use deserialize_shorthand;

/// The schema of a type that is read by way of another one.
macro_rules! schema_of_input {
    ($name:ident: $input:ty) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$input>::json_schema(generator)
            }
        }
    };
}
pub(crate) use schema_of_input;

/// Any of the short kinds and the long forms.
pub(crate) fn schema(expecting: &str, kinds: &[&str], long: &[Schema]) -> Schema {
    let description = format!("Expected: {expecting}");
    if long.is_empty() {
        return json_schema!({ "description": description, "type": kinds });
    }
    let mut forms = long.to_vec();
    if !kinds.is_empty() {
        forms.insert(0, json_schema!({ "type": kinds }));
    }
    json_schema!({ "description": description, "anyOf": forms })
}

/// The fixed value of a `type:` key. A mapping of another type is refused, a missing key is filled in.
macro_rules! type_tag {
    ($name:ident, $text:literal) => {
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name;

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }

        impl $crate::spec::shorthand::Shorthand for $name {
            const EXPECTING: &'static str = concat!("`", $text, "`");

            fn from_text(text: &str) -> Result<Self, String> {
                if text == $text {
                    Ok(Self)
                } else {
                    Err(format!(
                        "type `{text}` does not belong here, expected `{}`",
                        $text
                    ))
                }
            }
        }

        $crate::spec::shorthand::deserialize_shorthand!($name: ["string"]);
    };
}
pub(crate) use type_tag;

/// A number with inclusive limits, or absent.
pub(crate) mod bounded {
    use serde::{Deserialize, Deserializer, de::Error};

    use super::Shorthand;

    /// `5`, `5.0` and `"5"` are the same to the released client.
    struct Whole(i64);

    impl Shorthand for Whole {
        const EXPECTING: &'static str = "a whole number";

        fn from_text(text: &str) -> Result<Self, String> {
            text.trim()
                .parse()
                .map(Self)
                .map_err(|_| format!("expected a whole number, found `{text}`"))
        }

        fn from_integer(number: i64) -> Result<Self, String> {
            Ok(Self(number))
        }

        fn from_float(number: f64) -> Result<Self, String> {
            if number.fract() == 0.0 && number.abs() < 9e15 {
                return Ok(Self(number as i64));
            }
            Err(format!("expected a whole number, found `{number}`"))
        }
    }

    deserialize_shorthand!(Whole: ["string", "number"]);

    pub(crate) fn integer<'de, D: Deserializer<'de>, const MIN: i64, const MAX: i64>(
        deserializer: D,
    ) -> Result<Option<i64>, D::Error> {
        let Some(Whole(number)) = Option::<Whole>::deserialize(deserializer)? else {
            return Ok(None);
        };
        if number < MIN {
            return Err(D::Error::custom(format!(
                "`{number}` is too small, the least is {MIN}"
            )));
        }
        if number > MAX {
            return Err(D::Error::custom(format!(
                "`{number}` is too large, the most is {MAX}"
            )));
        }
        Ok(Some(number))
    }

    pub(crate) fn optional<'de, D, T, const MIN: i64, const MAX: i64>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<i64>,
    {
        match integer::<D, MIN, MAX>(deserializer)? {
            None => Ok(None),
            Some(number) => T::try_from(number)
                .map(Some)
                .map_err(|_| D::Error::custom(format!("`{number}` is out of range"))),
        }
    }

    pub(crate) fn required<'de, D, T, const MIN: i64, const MAX: i64>(
        deserializer: D,
    ) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<i64>,
    {
        optional::<D, T, MIN, MAX>(deserializer)?
            .ok_or_else(|| D::Error::custom("a number is required here, not null"))
    }

    pub(crate) fn price<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            Some(price) if !price.is_finite() || price <= 0.0 => Err(D::Error::custom(format!(
                "`{price}` is not a price, it must be greater than 0"
            ))),
            price => Ok(price),
        }
    }
}

/// One value or several, kept as they were written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Shorthand for OneOrMany {
    const EXPECTING: &'static str = "text or a list of text";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::One(text.to_owned()))
    }

    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut many = Vec::new();
        while let Some(one) = seq.next_element()? {
            many.push(one);
        }
        Ok(Self::Many(many))
    }
}

deserialize_shorthand!(OneOrMany: ["string"], Vec<String>);

pub(crate) fn yes() -> bool {
    true
}
