//! What columns are called, in a few languages.
//!
//! In:      the header of a column.
//! Out:     how well it fits a list of words; a name for a property.
//! Promise: a word that is no list's costs nothing: the column becomes a property.

/// The parts of a header in small plain letters: "Bestell-Datum" and "bestellDatum" are `bestell`, `datum`.
pub(super) fn tokens(header: &str) -> Vec<String> {
    let mut tokens = vec![String::new()];
    let mut small_before = false;
    for char in header.chars() {
        if (!char.is_alphanumeric() || (small_before && char.is_uppercase()))
            && tokens.last().is_some_and(|token| !token.is_empty())
        {
            tokens.push(String::new());
        }
        small_before = char.is_lowercase();
        let Some(token) = tokens.last_mut().filter(|_| char.is_alphanumeric()) else { continue };
        for small in char.to_lowercase() {
            match small {
                'ä' => token.push_str("ae"),
                'ö' => token.push_str("oe"),
                'ü' => token.push_str("ue"),
                'ß' => token.push_str("ss"),
                'é' | 'è' | 'ê' | 'ë' => token.push('e'),
                'à' | 'á' | 'â' => token.push('a'),
                'ó' | 'ô' => token.push('o'),
                'ç' => token.push('c'),
                'ñ' => token.push('n'),
                other => token.push(other),
            }
        }
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

/// How well a header fits a list, the less the better: the word itself, a word in it, a long word at its end.
pub(super) fn rank(header: &str, words: &[&str]) -> Option<usize> {
    let tokens = tokens(header);
    let joined = tokens.concat();
    let place = |fits: &dyn Fn(&str) -> bool| words.iter().position(|word| fits(word));
    let whole = place(&|word| joined == word);
    let within = || place(&|word| tokens.iter().any(|token| token == word)).map(|place| 100 + place);
    let at_end = || place(&|word| 5 <= word.len() && joined.ends_with(word)).map(|place| 200 + place);
    whole.or_else(within).or_else(at_end)
}

pub(super) const TIME: &[&str] = &[
    "timestamp",
    "eventtime",
    "zeitpunkt",
    "zeitstempel",
    "datetime",
    "createdat",
    "orderdate",
    "bestelldatum",
    "kaufdatum",
    "datum",
    "date",
    "time",
    "zeit",
    "tag",
    "day",
    "created",
    "erstellt",
    "fecha",
    "data",
    "horodatage",
    "when",
    "wann",
];

pub(super) const PERSON: &[&str] = &[
    "userid",
    "customerid",
    "kundennr",
    "kundennummer",
    "kundenid",
    "customernumber",
    "customerno",
    "user",
    "customer",
    "kunde",
    "clientid",
    "client",
    "memberid",
    "member",
    "mitglied",
    "klantnummer",
    "klant",
    "cliente",
    "contactid",
    "contact",
    "kontakt",
    "personid",
    "person",
    "email",
    "mail",
    "emailadresse",
    "emailaddress",
    "who",
    "wer",
];

pub(super) const DEVICE: &[&str] = &[
    "anonymousid",
    "visitorid",
    "visitor",
    "besucher",
    "besucherid",
    "sessionid",
    "session",
    "deviceid",
    "cookieid",
    "cookie",
    "sitzung",
    "fingerprint",
];

pub(super) const EVENT: &[&str] = &[
    "event",
    "eventname",
    "ereignis",
    "action",
    "aktion",
    "activity",
    "aktivitaet",
    "evenement",
    "evento",
    "eventtype",
    "vorgang",
    "type",
    "typ",
    "art",
    "was",
    "what",
];

pub(super) const MONEY: &[&str] = &[
    "revenue",
    "umsatz",
    "ordertotal",
    "grandtotal",
    "gesamtbetrag",
    "bestellwert",
    "warenkorbwert",
    "betrag",
    "amount",
    "total",
    "gesamtsumme",
    "summe",
    "gesamt",
    "montant",
    "importe",
    "importo",
    "ordervalue",
    "value",
    "wert",
    "price",
    "preis",
    "prix",
];

/// Amounts beside the one that counts.
pub(super) const AMOUNTS: &[&str] = &[
    "shipping",
    "versand",
    "versandkosten",
    "tax",
    "steuer",
    "mwst",
    "vat",
    "discount",
    "rabatt",
    "cost",
    "kosten",
    "netto",
    "net",
    "brutto",
    "gross",
    "fee",
    "gebuehr",
];

pub(super) const CURRENCY: &[&str] = &["currency", "waehrung", "currencycode", "devise", "moneda", "valuta"];

/// What a row's own id may be called.
pub(super) const ROW_ID: &[&str] = &[
    "messageid",
    "eventid",
    "id",
    "orderid",
    "ordernumber",
    "orderno",
    "bestellnr",
    "bestellnummer",
    "transactionid",
    "rechnungsnr",
    "belegnr",
    "rowid",
    "uuid",
];

/// Counts: worth adding up.
pub(super) const COUNT: &[&str] =
    &["quantity", "qty", "menge", "anzahl", "count", "stueck", "items", "units", "quantite", "cantidad"];

/// Of a person, and nothing to analyse by.
pub(super) const PERSONAL: &[&str] = &[
    "email",
    "mail",
    "emailadresse",
    "emailaddress",
    "phone",
    "telefon",
    "telefonnummer",
    "phonenumber",
    "mobile",
    "handy",
    "firstname",
    "lastname",
    "fullname",
    "vorname",
    "nachname",
    "name",
    "kundenname",
    "customername",
    "street",
    "strasse",
    "address",
    "adresse",
    "anschrift",
    "iban",
    "birthday",
    "birthdate",
    "geburtsdatum",
    "ip",
    "ipaddress",
];

/// Headers, and the field of an event each fills.
pub(super) const FIELDS: &[(&[&str], &str)] = &[
    (&["utmsource", "source", "quelle", "trafficsource"], "context.campaign.source"),
    (&["utmmedium", "medium"], "context.campaign.medium"),
    (&["utmcampaign", "campaign", "kampagne", "campaignname", "kampagnenname", "campagne"], "context.campaign.name"),
    (&["campaignid", "kampagnenid"], "context.campaign.id"),
    (&["utmterm", "keyword"], "context.campaign.term"),
    (&["utmcontent"], "context.campaign.content"),
    (&["useragent"], "context.userAgent"),
    (&["referrer", "referer"], "context.page.referrer"),
    (
        &["url", "pageurl", "landingpage", "landingpageurl", "seite", "page", "pagepath", "path", "pfad"],
        "context.page.url",
    ),
    (&["channel", "kanal", "marketingchannel"], "properties.channel"),
    (&["country", "countrycode", "land", "laendercode", "pays", "pais"], "properties.country"),
];

/// What a conversion is called where it is called something of its own; parts of words.
pub(super) const CONVERSIONS: &[&str] = &[
    "kauf",
    "gekauft",
    "bestellung",
    "bestellt",
    "abschluss",
    "purchase",
    "bought",
    "order",
    "checkout complete",
    "sale",
    "achat",
    "commande",
    "compra",
    "pedido",
    "acquisto",
    "ordine",
    "aankoop",
    "bestelling",
    "zakup",
    "registrierung",
    "anmeldung",
];

/// And what is none of them though it holds such a word.
pub(super) const NO_CONVERSIONS: &[&str] = &[
    "verkaufs",
    "abgebrochen",
    "storno",
    "stornier",
    "retour",
    "widerruf",
    "cancel",
    "refund",
    "return",
    "started",
    "begonnen",
    "viewed",
    "updated",
    "einkaufswagen",
    "einkaufskorb",
    "failed",
    "fehlgeschlagen",
];

pub(super) const PAGES: &[&str] = &["seitenaufruf", "seitenansicht", "page visit", "pagevisit", "visite", "seite"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_taken_apart_and_ranked() {
        assert_eq!(tokens("Bestell-Datum (UTC)"), ["bestell", "datum", "utc"]);
        assert_eq!(tokens("orderDate"), ["order", "date"]);
        assert_eq!(tokens("Währung"), ["waehrung"]);
        assert_eq!(tokens("SKU"), ["sku"]);
        assert_eq!(rank("Timestamp", TIME), Some(0));
        assert!(rank("Rechnungsdatum", TIME) > rank("Datum", TIME) && rank("Rechnungsdatum", TIME).is_some());
        assert_eq!(rank("Kunden-Nr.", PERSON), Some(2));
        assert_eq!(rank("Farbe", PERSON), None);
    }
}
