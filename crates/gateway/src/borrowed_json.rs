//! JSON as the gateway's bodies are read: texts and names lie where they came, in the body, and only what
//! is kept of them is copied out. To make a text of each of eighty fields, and to throw it away, takes
//! as long as all the rest of reading a webhook.
//!
//! What it deliberately cannot do: be written. What goes out is made of `serde_json`'s values.

use serde_json::{Number, Value};
use std::borrow::Cow;

/// A value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum BorrowedJson<'a> {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(Number),
    /// A text, its escapes resolved.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<BorrowedJson<'a>>),
    /// An object.
    Object(ObjectFields<'a>),
}

impl<'a> BorrowedJson<'a> {
    /// The fields of an object.
    pub(super) fn as_object(&self) -> Option<&ObjectFields<'a>> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// A text.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same without the body that it was read from.
    pub(super) fn into_owned(self) -> BorrowedJson<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => BorrowedJson::Null,
            Self::Flag(flag) => BorrowedJson::Flag(flag),
            Self::Number(number) => BorrowedJson::Number(number),
            Self::Text(text) => BorrowedJson::Text(owned(text)),
            Self::List(items) => {
                BorrowedJson::List(items.into_iter().map(BorrowedJson::into_owned).collect())
            }
            Self::Object(ObjectFields(fields)) => {
                let fields = fields.into_iter();
                let fields = fields.map(|(name, value)| (owned(name), value.into_owned()));
                BorrowedJson::Object(ObjectFields(fields.collect()))
            }
        }
    }

    /// Puts another value beside it.
    fn join(&mut self, other: Self) {
        match self {
            Self::List(items) => items.push(other),
            first => *first = Self::List(vec![std::mem::take(first), other]),
        }
    }

    /// The same as `serde_json` has it.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Flag(flag) => Value::Bool(flag),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::List(items) => items.into_iter().map(BorrowedJson::into_value).collect(),
            Self::Object(ObjectFields(fields)) => fields
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.into_value()))
                .collect(),
        }
    }
}

/// The fields of an object, by name. Of two with one name the last counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ObjectFields<'a>(Vec<(Cow<'a, str>, BorrowedJson<'a>)>);

impl<'a> ObjectFields<'a> {
    /// An object of these fields, in the order in which they came.
    pub(super) fn new(fields: Vec<(Cow<'a, str>, BorrowedJson<'a>)>) -> Self {
        Self::joined(fields, |_| false)
    }

    /// The same, where values that go by one of these names are put together in a list.
    pub(super) fn joined(
        mut fields: Vec<(Cow<'a, str>, BorrowedJson<'a>)>,
        are_joined: impl Fn(&str) -> bool,
    ) -> Self {
        // What was equal stays in its order, so that of each name the last one comes last.
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same && are_joined(&later.0) {
                earlier.1.join(std::mem::take(&mut later.1));
            } else if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        // A hostile body may have a hundred thousand objects of one field each.
        if fields.len() < fields.capacity() / 2 {
            fields.shrink_to_fit();
        }
        Self(fields)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.0
            .binary_search_by(|(other, _)| (**other).cmp(name))
            .ok()
    }

    /// The field of this name.
    pub(super) fn get(&self, name: &str) -> Option<&BorrowedJson<'a>> {
        self.0.get(self.place(name)?).map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut BorrowedJson<'a>> {
        let place = self.place(name)?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Whether there is a field of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// All fields, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &BorrowedJson<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
