use std::fmt::Write as _;

use super::*;

/// Strings written and read back by the IAB's libraries; the file says which. Only ever added to.
const FIXTURE: &str = include_str!("../../tests/data/tcf_strings.json");
/// An example of the GPP specification: nothing is allowed.
const EU: &str = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA";

#[derive(serde::Deserialize)]
struct Fixture {
    strings: Vec<Line>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    note: String,
    text: String,
    #[serde(default)]
    refused: bool,
    #[serde(default)]
    purposes_consent: Vec<u32>,
    #[serde(default, rename = "purposesLI")]
    purposes_li: Vec<u32>,
    #[serde(default)]
    is_service_specific: bool,
}

fn lines() -> Vec<Line> {
    serde_json::from_str::<Fixture>(FIXTURE).unwrap().strings
}

fn mask(purposes: &[u32]) -> u32 {
    purposes.iter().fold(0, |mask, purpose| mask | 1 << (24 - purpose))
}

/// The text whose bits these are; blanks between them are for the eye.
fn text_of(bits: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    let six = |six: &[u8]| (0..6).fold(0, |value, at| value << 1 | usize::from(six.get(at).copied().unwrap_or(0)));
    bits.chunks(6).map(|chunk| char::from(ALPHABET[six(chunk)])).collect()
}

#[test]
fn what_the_library_of_the_iab_wrote_is_read_as_it_reads_it() {
    let lines = lines();
    assert!(40 <= lines.len());
    for line in lines {
        let expected = (!line.refused).then(|| Purposes {
            consent: mask(&line.purposes_consent),
            legitimate_interest: mask(&line.purposes_li),
            is_service_specific: line.is_service_specific,
        });
        assert_eq!(purposes(&line.text), expected, "{}: {}", line.note, line.text);
    }
}

#[test]
fn a_bit_is_granted_when_every_purpose_behind_it_is_and_no_other_bit_is_spoken_of() {
    let lines = lines();
    for (note, granted) in [
        ("all allowed", 1 | 4 | 8),
        ("nothing allowed", 0),
        ("only legitimate interests", 0),
        ("all but purpose 1", 0),
        ("analytics alone", 1),
        ("ads alone", 4),
        ("personalization alone", 8),
        ("content but no ads", 1),
        ("all allowed, of global scope", 0),
    ] {
        let line = lines.iter().find(|line| line.note == note).unwrap();
        assert_eq!(consent(&line.text), Some(Said { granted: Consent(granted), about: Consent(1 | 4 | 8) }), "{note}");
    }
    // Each purpose taken away alone takes away the bits that stand on it.
    for purpose in 1..=11 {
        let all_but_one =
            (1..=11).filter(|other| *other != purpose).fold(0, |mask, other| mask | 1_u32 << (24 - other));
        let text = text_of(&format!(
            "000010 {:0102} 000000 000000 {:018} 1 {:013} {all_but_one:024b} {:025} 000000 000000 {:034} {:012}",
            0, 0, 0, 0, 0, 0
        ));
        let granted = match purpose {
            1 => 0,
            2 | 7 => 1 | 8,
            3..=6 => 1 | 4,
            8 | 9 => 4 | 8,
            _ => 1 | 4 | 8,
        };
        assert_eq!(consent(&text).map(|said| said.granted), Some(Consent(granted)), "without {purpose}: {text}");
    }
}

#[test]
fn examples_of_the_specifications() {
    let tcf = "COvFyGBOvFyGBAbAAAENAPCAAOAAAAAAAAAAAEEUACCKAAA.IFoEUQQgAIQwgIwQABAEAAAAOIAACAIAAAAQAIAgEAACEAAAAAgAQBA\
               AAAAAAGBAAgAAAAAAAFAAECAAAgAAQARAEQAAAAAJAAIAAgAAAYQEAAAQmAgBC3ZAYzUw";
    let read = purposes(tcf).unwrap();
    assert_eq!((read.consent, read.legitimate_interest), (mask(&[1, 2, 3]), 0));
    let with_publisher =
        "CLcVDxRMWfGmWAVAHCENAXCkAKDAADnAABRgA5mdfCKZuYJez-NQm0TBMYA4oCAAGQYIAAAAAAEAIAEgAA.argAC0gAAAAAAAAAAAA";
    let read = purposes(with_publisher).unwrap();
    assert_eq!((read.consent, read.legitimate_interest), (mask(&[1, 3, 9, 10]), mask(&[3, 4, 5, 8, 9, 10])));
    for gpp in ["DBABM~", "DBABMA~", "DBACNY~", "DBACNYA~"] {
        let text = format!("{gpp}{EU}~1YNN");
        assert_eq!(purposes(&text), purposes(EU).filter(|read| read.is_service_specific), "{text}");
    }
    assert_eq!(purposes(&format!("DBABjw~{EU}~1YNN")), None, "Canada and US privacy: no section is the EU's");
}

#[test]
fn a_gpp_header_leads_to_the_section_of_the_eu_wherever_it_stands() {
    let header = |items: &str, count: u32| text_of(&format!("000011 000001 {count:012b} {items}"));
    let (one, eu) = (text_of("000001"), purposes(EU));
    assert!(eu.is_some());
    // A number n of these: 1 = 11, 2 = 011, 3 = 0011, 4 = 1011.
    for (items, count, sections, expected) in [
        ("0 11 0 11", 2, format!("{one}~{EU}"), eu),               // 1, 2
        ("1 11 11", 1, format!("{one}~{EU}"), eu),                 // 1 to 2
        ("1 11 0011", 1, format!("{one}~{EU}~x~y"), eu),           // 1 to 4
        ("1 011 1011", 1, format!("{EU}~x~y~z~z"), eu),            // 2 to 6
        ("0 11 0 0011 0 11", 3, format!("{one}~{EU}~{EU}"), None), // 1, 4, 5
        ("0 11", 1, format!("{one}~{EU}"), None),                  // 1
        ("0 011", 1, String::new(), None),
        ("0 01", 1, EU.to_owned(), None), // cut
    ] {
        let text = format!("{}~{sections}", header(items, count));
        assert_eq!(purposes(&text), expected, "{items}: {text}");
    }
    let endless = format!("DBAB{}", "V".repeat(1_000)); // ones apart: a number without end
    assert_eq!(purposes(&endless), None);
    assert_eq!(purposes(&format!("DBAC{}~{EU}", header("0 011", 1))), None);
}

#[test]
fn a_core_cut_anywhere_says_nothing_and_what_is_behind_it_does_not_matter() {
    for line in lines().iter().filter(|line| !line.refused && line.text.starts_with('C')) {
        let core = line.text.split('.').next().unwrap();
        // The last letters may be padding: a core without them is whole.
        let whole_from = (0..=core.len()).find(|length| purposes(&core[..*length]).is_some()).unwrap();
        assert!(core.len() - whole_from < 4, "{core}");
        for length in whole_from..=core.len() {
            assert_eq!(purposes(&core[..length]), purposes(core), "{core}");
        }
        assert_eq!(purposes(&format!("{core}.")), purposes(core));
        assert_eq!(purposes(&format!("{core}.=,\u{e9}")), purposes(core));
        let mut rest = String::new();
        write!(rest, "{core}{}", "A".repeat(100)).unwrap();
        assert_eq!(purposes(&rest), purposes(core), "more bits than the fields need");
    }
}

#[test]
fn rubbish_is_refused() {
    for text in
        ["", "C", "D", "DB", "DB~", "~", ".", "BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA", "1YNN", "CPX=", "C\u{1f980}"]
    {
        assert_eq!(consent(text), None, "{text}");
    }
    assert_eq!(consent(&"C".repeat(100_000)), None);
    assert_eq!(consent(&"_".repeat(100_000)), None);
    assert_eq!(consent(&format!("C{}", "A".repeat(100_000))).map(|said| said.granted), Some(Consent(0)));
}
