//! What mail programs write around a quotation, in the languages in which they write it. Data, and how it is looked up.
//!
//! All is in lower case, words apart from each other by `|`; a text is compared after [`fold`].

/// For comparison: lower case, no-break spaces as spaces, one kind of apostrophe.
pub(super) fn fold(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{a0}' | '\u{202f}' | '\u{2007}' => ' ',
        '’' => '\'',
        c => c,
    };
    let invisible = |c: &char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let kept = text.chars().filter(|c| !invisible(c));
    kept.map(plain).collect::<String>().to_lowercase()
}

/// Octets of a line that may be more than text; what is longer is somebody's paragraph.
const SPOKEN: usize = 1600;

/// What a line of a header says that is repeated above a quotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    From,
    Sent,
    To,
    Copy,
    Subject,
}

const FROM: &str = "\
    from|von|de|da|van|från|fra|lähettäjä|od|отправитель|от|від|feladó|kimden|gönderen|από|expeditor|发件人|寄件者|\
    寄件人|差出人|送信者|보낸 사람|보낸사람|מאת|من|expéditeur|remitente|mittente|afzender|odesílatel|nadawca|pošiljatelj|\
    avsändare";
const SENT: &str = "\
    sent|date|gesendet|datum|envoyé|envoyé le|enviado|enviado el|enviada em|enviado em|fecha|data|inviato|\
    data d'invio|verzonden|skickat|sendt|dato|lähetetty|päiväys|päivämäärä|wysłano|wysłane|odesláno|odoslané|\
    dátum|отправлено|дата|надіслано|küldve|elküldve|gönderildi|gönderme tarihi|tarih|ημερομηνία|στάλθηκε|trimis|\
    发送时间|发送日期|日期|寄件日期|傳送日期|送信日時|日付|보낸 날짜|날짜|נשלח|תאריך|تاريخ الإرسال|التاريخ|poslano";
const TO: &str = "\
    to|an|à|para|a|aan|till|til|vastaanottaja|do|komu|pro|кому|címzett|kime|alıcı|προς|către|收件人|收件者|宛先|받는 사람|\
    받는사람|אל|إلى|za|destinataire|destinatario";
const COPY: &str = "\
    cc|kopie|copie à|copie|kopia|kopi|kopio|dw|копия|másolatot kap|bilgi|κοιν.|抄送|副本|참조|עותק|نسخة|reply-to|\
    antwort an|répondre à|importance|priorität|anlagen|attachments";
const SUBJECT: &str = "\
    subject|betreff|objet|asunto|oggetto|assunto|onderwerp|ämne|emne|aihe|temat|předmět|predmet|тема|tárgy|konu|\
    θέμα|subiect|主题|主題|主旨|件名|제목|נושא|الموضوع|zadeva";

/// The label before the colon of a line, where it is one of a header.
pub(super) fn label(line: &str) -> Option<Label> {
    let line = line.trim_start_matches(['*', ' ', '\u{a0}']);
    let (name, _) = line.split_once([':', '：'])?;
    let name = name.trim_matches(['*', ' ', '\u{a0}']);
    if name.is_empty() || name.chars().count() > 25 {
        return None;
    }
    let name = fold(name);
    let tables =
        [(FROM, Label::From), (SENT, Label::Sent), (TO, Label::To), (COPY, Label::Copy), (SUBJECT, Label::Subject)];
    tables.into_iter().find(|(names, _)| names.split('|').any(|known| known == name)).map(|(_, label)| label)
}

/// Between rules of dashes: what follows is the mail that is answered.
pub(super) const ORIGINAL: &str = "\
    original message|original appointment|original email|original e-mail|ursprüngliche nachricht|\
    ursprünglicher termin|original-nachricht|originalnachricht|message d'origine|message original|\
    courriel original|mensaje original|messaggio originale|mensagem original|oorspronkelijk bericht|\
    origineel bericht|ursprungligt meddelande|originalmeddelande|opprinnelig melding|oprindelig meddelelse|\
    alkuperäinen viesti|wiadomość oryginalna|oryginalna wiadomość|původní zpráva|pôvodná správa|eredeti üzenet|\
    исходное сообщение|оригинальное сообщение|вихідне повідомлення|orijinal mesaj|özgün ileti|orijinal ileti|\
    αρχικό μήνυμα|mesajul original|mesaj original|izvirno sporočilo|originalna poruka|原始邮件|原始郵件|邮件原件|元のメッセージ|\
    원본 메시지|원본 메일|הודעה מקורית|الرسالة الأصلية";

/// What follows is a mail that is passed on: it is the message.
const FORWARDED: &str = "\
    forwarded message|weitergeleitete nachricht|weitergeleiteten nachricht|message transféré|message réexpédié|\
    mensaje reenviado|messaggio inoltrato|mensagem encaminhada|mensagem reencaminhada|doorgestuurd bericht|\
    vidarebefordrat meddelande|videresendt|välitetty viesti|edelleenlähetetty viesti|przekazana wiadomość|\
    přeposlaná zpráva|preposlaná správa|továbbított üzenet|пересылаемое сообщение|пересланное сообщение|\
    переслане повідомлення|iletilen mesaj|προωθημένο μήνυμα|mesaj redirecționat|转发的邮件|轉寄郵件|转发邮件|転送メッセージ|전달된 메시지|\
    הודעה שהועברה|رسالة معاد توجيهها";

/// Whether a line says that what follows is passed on.
pub(super) fn is_forward(line: &str) -> bool {
    if line.len() > SPOKEN {
        return false;
    }
    let folded = fold(line);
    let bare = folded.trim_matches(['-', '_', '*', ' ', ':', '：']);
    let ruled = folded.trim_start().starts_with("---") || folded.trim_end().ends_with([':', '：']);
    ruled && bare.chars().count() < 60 && FORWARDED.split('|').any(|words| bare.contains(words))
}

/// Subjects of mails that are passed on begin with these.
const FORWARD_PREFIXES: &str = "\
    fw:|fwd:|wg:|tr:|rv:|i:|enc:|vl:|doorst:|vb:|pd:|转发:|轉寄:|転送:|fwd :";

/// Whether a subject is that of a mail that is passed on.
pub(super) fn is_forward_subject(subject: &str) -> bool {
    let subject = fold(subject.trim()).replace('：', ":");
    FORWARD_PREFIXES.split('|').any(|prefix| subject.starts_with(prefix))
}

/// Somebody wrote something.
const WROTE: &str = "\
    wrote|writes|schrieb|geschrieben|écrit|écrivait|escribió|escribio|va escriure|ha scritto|scrive|scrisse|\
    escreveu|schreef|geschreven|skrev|kirjoitti|napisał|pisze|napsal|napísal|írta|scris|написал|пишет|писал|\
    написа|писав|пише|yazdı|yazmış|έγραψε|כתב|كتب|写道|寫道|写着|のメール|書きました|작성|viết|menulis|napisao|napisal|rašė|\
    rakstīja|kirjutas|idatzi|scríobh|skrifaði|hat am|said";

/// Lines that name the time first begin so.
const OPENERS: &str = "\
    on |am |le |el |il |op |den |em |w dniu |dne |dňa |på |pe |în |la |στις |בתאריך |في |於 |在 |pada |vào |ma |\
    ke |to |pon|wt|śr|czw|pt|sob|niedz|20|a |в |пн|вт|ср|чт|пт|сб|вс";

/// Whether lines, joined, say who wrote at what time what follows. `certain`: there need not be a quotation after it.
pub(super) fn is_attribution(text: &str, certain: bool) -> bool {
    if text.len() > SPOKEN {
        return false;
    }
    let folded = fold(text);
    let folded = folded.trim().trim_end_matches('*').trim_end();
    if folded.chars().count() > 400 || !folded.ends_with([':', '：']) {
        return false;
    }
    let digits = folded.chars().filter(char::is_ascii_digit).count();
    let addressed = folded.split_once('@').is_some_and(|(before, after)| {
        before.ends_with(|c: char| c.is_alphanumeric()) && after.starts_with(|c: char| c.is_alphanumeric())
    });
    let wrote = WROTE.split('|').any(|word| folded.contains(word));
    match certain {
        true => wrote && digits >= 4,
        false => (addressed && digits >= 3) || (wrote && (digits >= 3 || folded.chars().count() < 80)),
    }
}

/// Whether a line can be the first of several that are such a text.
pub(super) fn opens_attribution(line: &str) -> bool {
    let folded = fold(line.trim());
    folded.chars().any(|c| c.is_ascii_digit()) && OPENERS.split('|').any(|opener| folded.starts_with(opener))
}

/// What programs on telephones, and others, write below a text by themselves.
const ADVERTS: &str = "\
    sent from my|sent from mail for windows|sent from outlook|sent from yahoo|sent from proton|\
    sent from samsung|sent from a mobile|sent from for windows|sent with proton|sent with [proton|sent with k-9|\
    sent via|sent using|get outlook for|holen sie sich outlook|outlook für|télécharger outlook|obtener outlook|\
    scarica outlook|hämta outlook|pobierz outlook|baixe o outlook|von meinem|gesendet von|gesendet mit|\
    diese nachricht wurde von meinem|envoyé de mon|envoyé depuis|envoyé à partir|enviado desde|enviado do meu|\
    enviado a partir|enviado de mi|inviato da|inviato dal|verzonden vanaf|verstuurd vanaf|verzonden met|\
    skickat från|skickades från|sendt fra|lähetetty|wysłane z|wysłano z|odesláno z|odoslané z|отправлено с|\
    отправлено из|надіслано з|küldve|iphone'umdan|gönderildi|στάλθηκε από|trimis de pe|从我的|发自我的|發自我的|從我的|\
    iphoneから送信|から送信|나의 iphone에서 보냄|에서 보냄|נשלח מה|أُرسلت من|تم الإرسال من|download the|yahoo mail:";

/// Whether a line is such an advertisement.
pub(super) fn is_advert(line: &str) -> bool {
    if line.len() > SPOKEN {
        return false;
    }
    let folded = fold(line);
    let bare = folded.trim().trim_start_matches(['_', '*', '[', '-', '—', '–', ' ']);
    let short = bare.chars().count() < 160;
    short
        && ADVERTS
            .split('|')
            .any(|advert| bare.starts_with(advert) || (advert.starts_with("から") && bare.contains(advert)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let check = |line: &str, expected: Option<Label>| assert_eq!(label(line), expected, "{line}");
        check("From: Bob <bob@b.example>", Some(Label::From));
        check("*Von:* Bob", Some(Label::From));
        check("Gesendet: Montag", Some(Label::Sent));
        check("发件人： Bob", Some(Label::From));
        check("De\u{a0}: Bob", Some(Label::From));
        check("Objet : x", Some(Label::Subject));
        check("Remember: milk", None);
        check("From here", None);
    }

    #[test]
    fn attributions() {
        let check = |text: &str, certain: bool, expected: bool| {
            assert_eq!(is_attribution(text, certain), expected, "{text}");
        };
        check("On Mon, 23 Nov 2026 at 12:00, Bob <bob@b.example> wrote:", true, true);
        check("Am 23.11.26 um 12:00 schrieb Bob:", true, true);
        check("2026年11月23日(月) 12:00 Bob <bob@b.example>:", false, true);
        check("2026年11月23日(月) 12:00 Bob <bob@b.example>:", true, false);
        check("Bob wrote:", false, true);
        check("Bob wrote:", true, false);
        check("The numbers are:", false, false);
        check("On Mon, 23 Nov 2026 Bob wrote", false, false);
    }

    #[test]
    fn adverts_and_forwards() {
        assert!(
            is_advert("Sent from my iPhone") && is_advert("Von meinem iPhone gesendet") && is_advert("iPhoneから送信")
        );
        assert!(!is_advert("I sent from my office what you want"));
        assert!(is_forward("---------- Forwarded message ---------") && is_forward("Begin forwarded message:"));
        assert!(!is_forward("I never got the forwarded message"));
        assert!(is_forward_subject("WG: Lunch") && !is_forward_subject("Re: Lunch"));
    }
}
