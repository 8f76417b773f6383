use proptest::prelude::*;

use super::*;

fn of(name: &str, bytes: &[u8]) -> Proposal {
    let source = Source::Bytes { name: name.to_owned(), bytes: bytes.to_vec().into() };
    propose(&source, None, "tributary import FILE --mapping mapping.toml").unwrap()
}

fn told(proposal: &Proposal) -> String {
    format!("{}\n{}", proposal.text, proposal.told.join("\n"))
}

const GERMAN: &str = "Kundennr;E-Mail;Datum;Aktion;Betrag;Artikel;Menge;Kampagne;Versandkosten\n\
    1007;ada@x.example;12.03.2026 14:05;Warenkorb;;Hose;1;Frühling;\n\
    1007;ada@x.example;12.03.2026 14:11;Kauf;1.249,90 €;Hose;1;Frühling;4,90\n\
    1008;bob@x.example;13.03.2026 09:30;Kauf;49,00 €;Hemd;2;;0,00\n";

#[test]
fn a_german_shop_gets_a_mapping_that_takes_its_rows() {
    let proposal = of("shop.csv", GERMAN.as_bytes());
    for line in [
        "delimiter = \";\"",
        "time_format = \"%d.%m.%Y %H:%M\"",
        "time_zone = \"UTC\"",
        "decimal = \",\"",
        "thousands = \".\"",
        "conversion = [\"Kauf\"]",
        "event = \"{Aktion}\"",
        "userId = \"{Kundennr}\"",
        "timestamp = \"{Datum}\"",
        "revenue = \"{Betrag:amount}\"",
        "currency = \"EUR\"",
        "artikel = \"{Artikel}\"",
        "menge = \"{Menge:number}\"",
        "versandkosten = \"{Versandkosten:amount}\"",
        "# e_mail = \"{E-Mail}\"",
        "[event.context.campaign]\nname = \"{Kampagne}\"",
    ] {
        assert!(proposal.text.contains(line), "{line}\n---\n{}", told(&proposal));
    }
    assert_eq!(proposal.told.last().unwrap(), "of the first 3 rows 3 would be taken");
    assert!(proposal.told.iter().any(|line| line.contains("\"E-Mail\": personal")), "{}", told(&proposal));
}

#[test]
fn text_that_is_windows_1252_is_read_and_said() {
    let (bytes, _, _) = WINDOWS_1252.encode(GERMAN);
    let proposal = of("shop.csv", &bytes);
    assert!(proposal.text.contains("encoding = \"windows-1252\""), "{}", told(&proposal));
    assert!(proposal.told.last().unwrap().ends_with("3 would be taken"), "{}", told(&proposal));
    // One damaged line does not make another text of the rest.
    let damaged = of("d.csv", b"customer,day\nK\xc3\xa4te,2026-01-01\nK\xe4te,2026-01-01\n");
    assert!(!damaged.text.contains("encoding"), "{}", told(&damaged));
    assert!(
        damaged.told.last().unwrap().starts_with("of the first 2 rows 1 would be taken; line 3: it is not UTF-8"),
        "{}",
        told(&damaged)
    );
    let header = WINDOWS_1252.encode("Käufer;Datum\n1;2026-01-01\n").0.into_owned();
    assert!(of("k.csv", &header).text.contains("encoding = \"windows-1252\""));
}

#[test]
fn what_can_be_read_in_two_ways_must_be_decided() {
    let slashes = of("us.csv", b"customer,date,total\nc1,03/12/2026 2:05 PM,5\nc2,04/12/2026 3:05 PM,6\n");
    for words in [
        "# time_format = \"%m/%d/%Y %I:%M %p\"",
        "# time_format = \"%d/%m/%Y %I:%M %p\"",
        "to be decided before it can be used",
    ] {
        assert!(told(&slashes).contains(words), "{words}: {}", told(&slashes));
    }
    let amounts = of("a.csv", b"customer,day,total\nc1,2026-01-01,1.234\n");
    assert!(amounts.text.contains("decimal = \"?\"") && told(&amounts).contains("to be decided"), "{}", told(&amounts));
    let nobody = of("n.csv", b"colour,day\nred,2026-01-01\n");
    assert!(told(&nobody).contains("{which column?}") && told(&nobody).contains("to be decided"), "{}", told(&nobody));
}

#[test]
fn other_shapes_of_files_are_understood() {
    for (text, lines) in [
        // A plain list of orders.
        (
            "Order ID,Customer Email,Order Date,Order Total (USD),Country\n1,a@x.example,2026-03-12 14:05:33,12.50,US\n\
             2,b@x.example,2026-03-13 14:05:33,1.00,US\n",
            &[
                "event = \"Order Completed\"",
                "userId = \"{Customer Email}\"",
                "timestamp = \"{Order Date}\"",
                "time_zone = \"UTC\"",
                "revenue = \"{Order Total (USD):amount}\"",
                "currency = \"USD\"",
                "country = \"{Country}\"",
                "# messageId = \"{Order ID}\"",
            ][..],
        ),
        // Day and clock apart, counts since 1970, a month that decides.
        (
            "Datum\tUhrzeit\tBesucher\tEreignis\n12.03.2026\t14:05\tv1\tSeitenaufruf\n",
            &[
                "timestamp = \"{Datum} {Uhrzeit}\"",
                "time_format = \"%d.%m.%Y %H:%M\"",
                "anonymousId = \"{Besucher}\"",
                "page = [\"Seitenaufruf\"]",
            ],
        ),
        (
            "Date,Time,Customer,Event\n03/25/2026,2:05 PM,c1,Sale\n03/12/2026,11:40 AM,c2,Sale\n",
            &["timestamp = \"{Date} {Time}\"", "time_format = \"%m/%d/%Y %I:%M %p\""],
        ),
        ("user,ts,timestamp,event\nu,x,1773324333,Purchase\n", &["timestamp = \"{timestamp:unix_s}\""]),
        (
            "user|date|event\nu|03/25/2026|Sale\nu|03/12/2026|Sale\n",
            &["time_format = \"%m/%d/%Y\"", "delimiter = \"|\""],
        ),
        (
            "user,value,url,a:b\nu,high,https://x.example/a,1\n",
            &["value_text = \"{value}\"", "url = \"{url}\"", "cannot be named"],
        ),
    ] {
        let proposal = of("f.csv", text.as_bytes());
        for line in lines {
            assert!(proposal.text.contains(line), "{line}\n---\n{}", told(&proposal));
        }
        let rows = text.lines().count() - 1;
        assert_eq!(
            proposal.told.last().unwrap(),
            &format!("of the first {rows} rows {rows} would be taken"),
            "{}",
            told(&proposal)
        );
    }
}

#[test]
fn a_file_without_columns_or_rows_is_told() {
    for (name, text, words) in [
        ("e.ndjson", "{\"a\":1}\n", "has no columns"),
        ("e.csv", "a,b\n", "has no row"),
        ("e.csv", "", "is empty"),
        ("e.xyz", "a,b\n", "--format"),
    ] {
        let source = Source::Bytes { name: name.to_owned(), bytes: text.as_bytes().to_vec().into() };
        let told = format!("{:#}", propose(&source, None, "x").err().unwrap());
        assert!(told.contains(words), "{told}");
    }
}

proptest! {
    /// Whatever stands in a file, the proposal is TOML, and each column is in it or said to be left out.
    #[test]
    fn every_column_is_in_the_proposal(
        header in proptest::collection::vec("[A-Za-zÄö #'{}:_.€-]{1,12}", 1..6),
        rows in proptest::collection::vec(proptest::collection::vec("[0-9A-Za-z€.,:/ \"#=\\[-]{0,12}", 6), 1..4),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names: std::collections::BTreeSet<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let names: Vec<String> = names.into_iter().collect();
        writer.write_record(&names).unwrap();
        for row in &rows {
            writer.write_record(&row[..names.len()]).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let source = Source::Bytes { name: "f.csv".to_owned(), bytes: bytes.into() };
        // A file of blank lines only has no rows.
        if let Ok(proposal) = propose(&source, None, "x") {
            prop_assert!(toml::from_str::<toml::Table>(&proposal.text).is_ok(), "{}", proposal.text);
            for name in &names {
                let used = proposal.text.contains(&format!("{{{name}"));
                prop_assert!(used || proposal.text.contains(&format!("{name:?} cannot be named")), "{name}: {}", proposal.text);
            }
        }
    }
}
