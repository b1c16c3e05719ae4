//! Settings that are one of a few words.
//!
//! An enum declared here reads, prints and lists its words, so that an error can say what
//! is allowed and no word stands in two places.

/// Declares an enum whose values are words of the configuration.
macro_rules! choices {
    ($(#[$about:meta])* pub enum $name:ident { $( $(#[doc = $doc:literal])* $variant:ident = $word:literal, )+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[doc = $doc])* $variant, )+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word that stands in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*),)+ }
            }
        }

        impl $crate::config::value::FromSetting for $name {
            fn expected() -> String {
                [$($word),+].join(" or ")
            }

            fn from_raw(raw: &$crate::config::value::SettingValue) -> Option<Self> {
                match raw.text()?.trim() {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}
pub(super) use choices;
