//! The closed word lists of the event: kinds, classes, purposes, flags, reasons.
//!
//! In:      text from outside (`parse`) or a decision made inside.
//! Out:     the one spelling that is written to the log and the lake.
//! Promise: a word once written keeps its meaning; lists only grow.

/// Declares an enum whose variants have one spelling at rest.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The spelling at rest.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The variant of this exact spelling, if there is one.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What sort of thing happened. Free names live in `event_name`; this list is for rules.
    EventKind {
        Page => "page",
        Click => "click",
        Impression => "impression",
        Open => "open",
        Conversion => "conversion",
        Identify => "identify",
        Alias => "alias",
        Group => "group",
        Send => "send",
        Decision => "decision",
        Consent => "consent",
        Feedback => "feedback",
        Cost => "cost",
        Custom => "custom",
        /// What a page's script tells by itself of how long somebody looked: no action of theirs.
        Engagement => "engagement",
    }
}

words! {
    /// Who, most likely, caused an open or a click. Machines are labelled, never dropped.
    EngagementClass {
        Human => "human",
        PrivacyProxy => "privacy_proxy",
        Prefetch => "prefetch",
        Scanner => "scanner",
        Bot => "bot",
        Unknown => "unknown",
    }
}

words! {
    /// How `event_time_us` was found.
    ClockQuality {
        /// The client's own time, from a source whose clock we take as it is (a server, an import).
        Trusted => "trusted",
        /// The client's time moved by the skew seen between its `sent_time_us` and our receipt.
        Corrected => "corrected",
        /// The client's time, with no means to check it.
        Unchecked => "unchecked",
        /// The client gave no time: our receipt.
        Received => "received",
        /// The client's time lay outside the bounds and was replaced by our receipt.
        Clamped => "clamped",
    }
}

words! {
    /// Why something was kept apart in `dead_letters`.
    DeadReason {
        /// Not JSON, or not the shape its dialect asks for.
        Malformed => "malformed",
        /// A field has a type or value that cannot be read.
        InvalidField => "invalid_field",
        /// No id of a person, device or event to file it under.
        NoIdentity => "no_identity",
        /// Larger than one event may be.
        TooLarge => "too_large",
        /// The same event again; the first copy is in `events`.
        Duplicate => "duplicate",
        /// Its bytes in the log could not be decoded.
        Undecodable => "undecodable",
        /// It fits no schema of its name, where the mode is enforce; or none of its name is known, where one must be.
        OffSchema => "off_schema",
    }
}

words! {
    /// What a row of `identities` does.
    LinkAction {
        Link => "link",
        /// Takes back what was said before of the same id and user.
        Unlink => "unlink",
    }
}

words! {
    /// How a link was said.
    LinkKind {
        /// A device's id and a user id on one `identify`.
        Identify => "identify",
        /// The same on the event of a login or sign-up.
        Login => "login",
        /// One id is from now on called by another.
        Alias => "alias",
        /// It takes a link back.
        Unlink => "unlink",
    }
}

words! {
    /// Why an id is joined to nobody though a link says so.
    LinkReason {
        /// Either id is a placeholder that many share.
        JunkId => "junk_id",
        /// More people used the device than one household has.
        SharedDevice => "shared_device",
        /// The user id was said on more devices than one person has.
        HubUser => "hub_user",
        /// More user ids are chained together than one person has.
        TooManyAliases => "too_many_aliases",
    }
}

/// What a person allowed, one bit a purpose. An absent mask (`None`) means nobody asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Consent(pub i64);

impl Consent {
    pub const ANALYTICS: Self = Self(1);
    pub const MARKETING: Self = Self(2);
    pub const ADS: Self = Self(4);
    pub const PERSONALIZATION: Self = Self(8);
    pub const SALE: Self = Self(16);
    /// Names by bit, for settings and docs.
    pub const NAMES: &[(&str, Self)] = &[
        ("analytics", Self::ANALYTICS),
        ("marketing", Self::MARKETING),
        ("ads", Self::ADS),
        ("personalization", Self::PERSONALIZATION),
        ("sale", Self::SALE),
    ];

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn allows(self, purpose: Self) -> bool {
        self.0 & purpose.0 == purpose.0
    }
}

/// What the line noticed about an event, one bit each. Never a reason to drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EventFlags(pub i64);

impl EventFlags {
    /// Older than the allowed lateness when it came: in `events`, not (yet) in `sessions`.
    pub const LATE: Self = Self(1);
    /// Its time was outside the bounds and was replaced by the time of receipt.
    pub const CLAMPED: Self = Self(2);
    /// Filed without an order among its person's events (it names no person).
    pub const UNORDERED: Self = Self(4);
    /// Another event with the same (source, event id) but other content came first.
    pub const ID_COLLISION: Self = Self(8);
    /// An id on it was junk ("null", "undefined", zeros ...) and was treated as absent.
    pub const JUNK_ID: Self = Self(16);
    /// Text was shortened or cleaned to fit a column's limit.
    pub const TRIMMED: Self = Self(32);
    /// The browser objected to sale and targeting (Global Privacy Control).
    pub const PRIVACY_CONTROL: Self = Self(64);
    /// An amount or a currency was said that is none; the properties keep it.
    pub const UNREAD_VALUE: Self = Self(128);
    /// It fits no schema of its name; `warnings` says why.
    pub const OFF_SCHEMA: Self = Self(256);
    pub const NAMES: &[(&str, Self)] = &[
        ("late", Self::LATE),
        ("clamped", Self::CLAMPED),
        ("unordered", Self::UNORDERED),
        ("id_collision", Self::ID_COLLISION),
        ("junk_id", Self::JUNK_ID),
        ("trimmed", Self::TRIMMED),
        ("privacy_control", Self::PRIVACY_CONTROL),
        ("unread_value", Self::UNREAD_VALUE),
        ("off_schema", Self::OFF_SCHEMA),
    ];

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
