//! Macros that define an enum for a closed set of words.

/// Defines an enum of words, each with a description. Serialises and parses them as words.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// All words, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word in the API, the database and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Returns the description.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($vdoc),*)),+ }
            }

            /// Parses a word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Like [`words!`], for words of the API: also implements the schema with the descriptions.
macro_rules! api_words {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $($rest:tt)+ }
    ) => {
        $crate::words! { $(#[doc = $doc])* $name { $($rest)+ } }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let words = Self::ALL.iter().map(|one| (one.as_str(), one.meaning()));
                $crate::openapi::described(concat!($($doc),*), words)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use api_words;
