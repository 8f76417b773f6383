//! User agents that both the door and the stream must judge alike.

/// Parts of user agents of mail gateways that open mails and follow links to look for harm. Lower case.
const MAIL_SCANNERS: &[&str] = &[
    "safelinks",
    "barracuda",
    "mimecast",
    "proofpoint",
    "urldefense",
    "bingpreview",
    "messagelabs",
    "fireeye",
    "cloudmark",
    "trendmicro",
    "sophos",
    "zscaler",
    "symantec",
    "forcepoint",
    "ironport",
    "microsoft office protocol discovery",
];

/// Whether a user agent names a mail gateway.
///
/// * `agent`: in lower case.
pub fn is_mail_scanner(agent: &str) -> bool {
    MAIL_SCANNERS.iter().any(|marker| agent.contains(marker))
}
