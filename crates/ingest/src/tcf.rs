//! What a person allowed, as the string of the IAB's Transparency and Consent Framework writes it (TCF 2.x).
//!
//! In:      a TC string (`C...`, as in `gdpr_consent` or the cookie `euconsent-v2`), or GPP (`DB...`) holding one.
//! Out:     the purposes consented to; of our mask the bits granted and the bits the string speaks about.
//! Promise: a bit is granted only when every purpose behind it has consent; nothing is allocated, nothing panics, and
//!          the time grows with the length of the text alone; a string cut within its core says nothing (`None`).
//! Not here: the segments behind the first dot, which vendor was allowed, TCF 1, the sections of GPP outside the EU.
//!
//! Source: IAB Tech Lab, "Consent string and vendor list formats v2" and "Global Privacy Platform: Consent String
//! Specification". Written by hand: `lib_tcstring` 0.5 panics on strings cut short and turns 1 kB of vendor ranges into
//! 13 million ids; `iab_gpp` 0.1 misreads a header of three sections and walks each vendor of a range too.

use tributary_schemas::Consent;

/// What a TC string says, in terms of our mask. The bits outside `about` are not said: keep what else is known of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// Always within `about`.
    pub granted: Consent,
    pub about: Consent,
}

/// Our purposes and the purposes of the TCF each stands on. All of them need consent.
///
/// Purpose 1 (store or access information on the device) is behind each: what we count hangs on an id kept there.
/// Google asks it for `ad_storage` and `ad_user_data` too. Where a publisher need not ask it (`PurposeOneTreatment`),
/// its bit is 0 and we grant nothing: which countries that holds for is a question of law, and changes.
///
/// * analytics: measure content (8), understand audiences through statistics (9). Google maps none to it; of those
///   who do, Sibbo takes 1 and 9, c15t 7 to 9. To improve products (10) is not asked: no counting of ours needs it.
/// * ads: select ads by limited data (2), measure ads (7). Google: `ad_user_data` is 1 and 7.
/// * personalization: profiles for ads, made (3) and used (4), and for content (5, 6). Google: `ad_personalization`
///   is 3 and 4. The mask has one bit for both, so both must be allowed. An audience for ads needs this bit and `ads`.
///
/// Marketing (our own messages) and sale are no purposes of the TCF, so they are not in `about`. Purpose 11 came with
/// policy 4: to need it would refuse every string before.
const STANDS_ON: &[(Consent, &[u32])] =
    &[(Consent::ANALYTICS, &[1, 8, 9]), (Consent::ADS, &[1, 2, 7]), (Consent::PERSONALIZATION, &[1, 3, 4, 5, 6])];

/// Reads a TC or GPP string into our mask; `None` when it is no such string, or is damaged.
pub(crate) fn consent(text: &str) -> Option<Said> {
    let purposes = purposes(text)?;
    let mut said = Said { granted: Consent::default(), about: Consent::default() };
    for (bit, needed) in STANDS_ON {
        said.about = said.about.with(*bit);
        // The specification calls a string of global scope invalid. It grants nothing, yet somebody was asked: `None`
        // would read as "nobody asked" and let more through than a refusal.
        if purposes.is_service_specific && needed.iter().all(|purpose| purposes.has_consent(*purpose)) {
            said.granted = said.granted.with(*bit);
        }
    }
    Some(said)
}

/// The purposes of a TC string. Purpose 1 is the highest of the 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Purposes {
    pub consent: u32,
    /// Told as a legitimate interest and not objected to. Nothing the person allowed: a string may carry it before
    /// anyone has answered.
    pub legitimate_interest: u32,
    pub is_service_specific: bool,
}

impl Purposes {
    const COUNT: u32 = 24;

    /// * `purpose`: 1 to 24.
    fn has_consent(self, purpose: u32) -> bool {
        self.consent >> (Self::COUNT - purpose) & 1 == 1
    }
}

/// Reads the core of a TC string, alone or within a GPP string.
pub(crate) fn purposes(text: &str) -> Option<Purposes> {
    let text = if text.starts_with("DB") { section_of_eu(text)? } else { text };
    let mut core = Bits::of(text.split('.').next()?)?;
    if core.take(6)? != 2 {
        return None;
    }
    core.skip(36 + 36 + 12 + 12 + 6)?; // created, updated, CMP, its version, its screen
    core.letters_of_code()?; // language
    core.skip(12 + 6)?; // versions of the vendor list and of the policy
    let is_service_specific = core.take(1)? == 1;
    core.skip(1 + 12)?; // texts of its own; special features (location, fingerprint), for which we have no bit
    let consent = core.take(Purposes::COUNT)?;
    let legitimate_interest = core.take(Purposes::COUNT)?;
    core.skip(1)?; // purpose 1 not asked: see `STANDS_ON`
    core.letters_of_code()?; // country
    // Nothing of the rest is kept. It is walked so that a string cut on its way is known from a whole one.
    core.skip_vendors()?; // with consent
    core.skip_vendors()?; // with a legitimate interest
    for _ in 0..core.take(12)? {
        core.skip(6 + 2)?; // a restriction: purpose, kind
        core.skip_ranges()?;
    }
    Some(Purposes { consent, legitimate_interest, is_service_specific })
}

/// The section of EU TCF 2 (id 2) of a GPP string, if its header lists one.
fn section_of_eu(text: &str) -> Option<&str> {
    const EU: u32 = 2;
    let mut sections = text.split('~');
    let mut header = Bits::of(sections.next()?)?;
    if (header.take(6)?, header.take(6)?) != (3, 1) {
        return None;
    }
    // Ids ascend, each item told from the last id before it; so at most two items come before we know.
    let (mut id_last, mut position) = (0_u32, 0);
    for _ in 0..header.take(12)? {
        let is_group = header.take(1)? == 1;
        let first = id_last.checked_add(header.take_fibonacci()?)?;
        id_last = if is_group { first.checked_add(header.take_fibonacci()?)? } else { first };
        if EU <= id_last {
            position += EU.checked_sub(first)?;
            return sections.nth(usize::try_from(position).ok()?);
        }
        position += id_last - first + 1;
    }
    None
}

/// Bits of base64url, highest first. The crate `base64` will not do: it wants whole bytes, and GPP pads to 6 bits.
struct Bits<'a> {
    letters: &'a [u8],
    /// In bits; never beyond the end.
    at: usize,
}

impl<'a> Bits<'a> {
    fn of(text: &'a str) -> Option<Self> {
        // All at once, for most letters are skipped later and never looked at.
        text.bytes().all(|letter| six_bits(letter).is_some()).then_some(Self { letters: text.as_bytes(), at: 0 })
    }

    /// * `count`: at most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= u32::BITS, "the value is held in 32 bits");
        let mut value = 0;
        for _ in 0..count {
            let six = six_bits(*self.letters.get(self.at / 6)?)?;
            value = value << 1 | u32::from(six >> (5 - self.at % 6) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        let at = self.at + count;
        (at <= self.letters.len() * 6).then(|| self.at = at)
    }

    /// Two letters of 6 bits each, in either case. Strings carry no checksum: this keeps most of other text out.
    fn letters_of_code(&mut self) -> Option<()> {
        for _ in 0..2 {
            let letter = char::from_u32(u32::from('A') + self.take(6)?)?;
            letter.is_ascii_alphabetic().then_some(())?;
        }
        Some(())
    }

    /// Vendors as one bit for each, or as ranges.
    fn skip_vendors(&mut self) -> Option<()> {
        let id_max = usize::try_from(self.take(16)?).ok()?;
        if self.take(1)? == 0 { self.skip(id_max) } else { self.skip_ranges() }
    }

    /// Each turn moves on by 17 bits or more, so the text bounds the turns and not the count it claims.
    fn skip_ranges(&mut self) -> Option<()> {
        for _ in 0..self.take(12)? {
            let has_end = self.take(1)? == 1;
            self.skip(if has_end { 32 } else { 16 })?;
        }
        Some(())
    }

    /// A number as a sum of Fibonacci numbers (1, 2, 3, 5 ...), lowest first, ended by two ones. Never 0.
    fn take_fibonacci(&mut self) -> Option<u32> {
        let (mut sum, mut weight, mut weight_next, mut was_one) = (0_u32, 1_u32, 2_u32, false);
        loop {
            let is_one = self.take(1)? == 1;
            if is_one && was_one {
                return Some(sum);
            }
            if is_one {
                sum = sum.checked_add(weight)?;
            }
            (weight, weight_next) = (weight_next, weight.saturating_add(weight_next));
            was_one = is_one;
        }
    }
}

fn six_bits(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
