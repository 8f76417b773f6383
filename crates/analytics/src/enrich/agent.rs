//! A user agent read: browser, operating system, device class.
//!
//! In:      the user agent as it came.
//! Out:     families as uap-core names them, versions, and one word for the device.
//! Promise: as uap-core's reference cases say (all 483 of test_os.yaml agree); what is longer than 512 bytes is read to there.
//! Not here: how an expression is found (`expressions`); whether a machine is behind it (`machine`); remembering answers (`cache`).
//!
//! Why uap-core's expressions and no crate, measured on the 952 browsers of ua_browsers_weighted and the 483 systems of
//! test_os.yaml (release, one core of a shared machine): `woothee` takes 1.1 µs an agent and 0.5 ms to start, and finds the
//! reference's family in 157 of the 483. `ua-parser` finds family and version in all 483, takes 3 to 7 µs, and 45 ms to
//! compile all expressions; and the features it asks of `aho-corasick` would have everything built anew that uses regexes,
//! DataFusion among it. What it does is little once the texts each expression needs stand in the list (`expressions`), and so
//! each is compiled when an agent first may match it. The answers are the same (3,558 agents compared once).
//! The 633 expressions for brand and model of devices are left out: no column wants them.

use super::expressions::Expressions;

/// Expressions of uap-core: kind, expression, the words of family, major, minor and patch, and the texts it needs.
pub(super) const LIST: &str = include_str!("../../data/agents.tsv");

/// What the door keeps of an agent, and what is read here of one that came another way.
pub const AGENT_BYTES_MAX: usize = 512;

/// What one user agent says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agent {
    pub browser: Option<Box<str>>,
    /// Major, minor and patch as far as they are said, with points between.
    pub browser_version: Option<Box<str>>,
    pub os: Option<Box<str>>,
    pub os_version: Option<Box<str>>,
    pub device: &'static str,
}

pub const DESKTOP: &str = "desktop";
pub const MOBILE: &str = "mobile";
pub const TABLET: &str = "tablet";
pub const TV: &str = "tv";
pub const CONSOLE: &str = "console";
pub const WEARABLE: &str = "wearable";
/// Said by the caller, who asks `machine`.
pub const BOT: &str = "bot";
pub const OTHER: &str = "other";

pub struct AgentRules {
    browsers: Expressions,
    systems: Expressions,
}

impl AgentRules {
    pub(super) fn built_in() -> Self {
        let of = |kind: &'static str| Expressions::new(LIST.lines().filter_map(|line| line.strip_prefix(kind)));
        Self { browsers: of("browser\t"), systems: of("os\t") }
    }

    pub fn read(&self, agent: &str) -> Agent {
        let agent = cut(agent);
        let mut read = Agent { device: OTHER, ..Agent::default() };
        if let Some([family, version @ ..]) = self.browsers.find(agent) {
            (read.browser, read.browser_version) = (named(family), joined(version));
        }
        if let Some([family, version @ ..]) = self.systems.find(agent) {
            (read.os, read.os_version) = (named(family), joined(version));
        }
        read.device = device_of(&agent.to_ascii_lowercase(), read.os.as_deref());
        read
    }
}

/// What of an agent is read.
pub fn cut(agent: &str) -> &str {
    &agent[..agent.floor_char_boundary(AGENT_BYTES_MAX)]
}

fn named(family: Option<String>) -> Option<Box<str>> {
    family.filter(|family| family != "Other").map(String::into_boxed_str)
}

/// "10.15.7" of its parts; a part that is missing ends it.
fn joined(parts: [Option<String>; 3]) -> Option<Box<str>> {
    let text = parts.into_iter().map_while(|part| part).collect::<Vec<_>>().join(".");
    (!text.is_empty()).then(|| text.into())
}

const CONSOLES: &[&str] = &["playstation", "nintendo", "xbox"];

const TVS: &[&str] = &[
    "smart-tv",
    "smarttv",
    "smart_tv",
    "smart tv",
    "hbbtv",
    "appletv",
    "apple tv",
    "googletv",
    "google tv",
    "android tv",
    "androidtv",
    "bravia",
    "web0s",
    "webos.tv",
    "netcast",
    "crkey",
    "roku",
    "viera",
    "dtv",
    "large screen",
    "philipstv",
    "opera tv",
    "inettvbrowser",
    "ce-html",
    "mibox",
    "mitv",
    "; aft",
];

const WEARABLES: &[&str] = &["watchos", "apple watch", "galaxy watch", "wear os", "google glass", "; glass "];

const TABLETS: &[&str] =
    &["ipad", "tablet", "kindle", "playbook", "nexus 7", "nexus 9", "nexus 10", "xoom", "sm-t", "sm-x", "sm-p"];

const PHONES: &[&str] = &[
    "iphone",
    "ipod",
    "android",
    "mobile",
    "windows phone",
    "blackberry",
    "bb10",
    "opera mini",
    "opera mobi",
    "kaios",
    "symbian",
    "series60",
    "nokia",
    "j2me",
    "midp",
];

const DESKTOPS: &[&str] = &["windows", "macintosh", "mac os x", "x11", "cros", "linux", "win64", "bsd"];

/// The class of the device. An iPad that asks for desktop pages calls itself a Macintosh and counts as one; nothing in
/// the text tells them apart.
///
/// `lower`: the agent in lower case.
fn device_of(lower: &str, system: Option<&str>) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(CONSOLES) {
        CONSOLE
    } else if says(TVS) || (lower.contains("tizen") && lower.contains("tv")) || system == Some("tvOS") {
        TV
    } else if says(WEARABLES) || system == Some("watchOS") {
        WEARABLE
    } else if is_tablet(lower) {
        TABLET
    } else if says(PHONES) || system == Some("iOS") {
        MOBILE
    } else if says(DESKTOPS) || matches!(system, Some("Windows" | "Mac OS X" | "Linux" | "Chrome OS" | "Ubuntu")) {
        DESKTOP
    } else {
        OTHER
    }
}

fn is_tablet(lower: &str) -> bool {
    // "Tablet PC 2.0" is what Windows said of any machine with a pen.
    let says_tablet = TABLETS.iter().any(|word| lower.contains(word)) && !lower.contains("tablet pc");
    // Google asks makers to write "Mobile" for phones and to leave it out for tablets.
    says_tablet || (lower.contains("android") && !lower.contains("mobile") && !lower.contains("opera m"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::built_in;

    #[test]
    fn an_agent_is_taken_apart() {
        let read = |agent: &str| built_in().agents.read(agent);
        let mac = read(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
        );
        assert_eq!((mac.browser.as_deref(), mac.browser_version.as_deref()), (Some("Chrome"), Some("126.0.0")));
        assert_eq!((mac.os.as_deref(), mac.os_version.as_deref()), (Some("Mac OS X"), Some("10.15.7")));
        assert_eq!(mac.device, DESKTOP);
        assert_eq!(read("").device, OTHER);
        assert_eq!(read("nonsense"), Agent { device: OTHER, ..Agent::default() });
    }

    #[test]
    fn devices_have_their_class() {
        for (agent, class) in [
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1",
                MOBILE,
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 Version/16.6 Mobile/15E148 Safari/604.1",
                TABLET,
            ),
            ("Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36", TABLET),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36",
                MOBILE,
            ),
            (
                "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 Chrome/79.0.3945.79 Safari/537.36 WebAppManager",
                TV,
            ),
            ("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/538.1 SamsungBrowser/3.0 TV Safari/538.1", TV),
            ("Mozilla/5.0 (PlayStation; PlayStation 5/6.00) AppleWebKit/605.1.15 Safari/605.1.15", CONSOLE),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) AppleWebKit/537.36 Edge/44.18363.8131",
                CONSOLE,
            ),
            ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36", DESKTOP),
            ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; Tablet PC 2.0)", DESKTOP),
            ("server-bee/5 watchOS/10.2 model/Watch7,1 hwp/t8310", WEARABLE),
        ] {
            assert_eq!(built_in().agents.read(agent).device, class, "{agent}");
        }
    }

    #[test]
    fn a_long_agent_is_read_to_its_limit_and_between_characters() {
        let long = format!("{}ü Chrome/126", "x".repeat(AGENT_BYTES_MAX - 1));
        assert_eq!(cut(&long).len(), AGENT_BYTES_MAX - 1);
        assert_eq!(built_in().agents.read(&long).browser, None);
    }
}
