//! The same as [`super::words`], read word by word: phrases whose parts stand apart, and words that mean
//! something else in the company of others ("earlier than", "card is lost", "has not been accepted").
//!
//! What it deliberately cannot do: understand a sentence. It looks for beginnings of words.

use super::words::About;

/// A text as words in small letters, one blank around each, so that `" lost"` is the beginning of a word.
pub(super) struct Phrase(String);

/// Another attempt, wherever it is said.
const ANOTHER: [&str; 84] = [
    " reuse",
    " re use",
    " idempot",
    " идемпотент",
    " previous",
    " prior request",
    " prior payment",
    " prior transaction",
    " prior attempt",
    " sent before",
    " used before",
    " seen before",
    " made before",
    " submitted before",
    " processed before",
    " paid before",
    " handled before",
    " underway",
    " under way",
    " in the works",
    " in flight",
    " inflight",
    " ongoing",
    " on going",
    " in hand ",
    " in work ",
    " queue",
    " enqueue",
    " backlog",
    " is being ",
    " are being ",
    " still being ",
    " now being ",
    " currently being ",
    " being handled",
    " being executed",
    " being performed",
    " being carried",
    " being worked",
    " being made",
    " being sent",
    " being verified",
    " on its way",
    " another request",
    " another payment",
    " another operation",
    " another attempt",
    " another process",
    " same payment",
    " same operation",
    " same key",
    " same tracking",
    " same attempt",
    " second time",
    " second attempt",
    " once more",
    " resubmi",
    " resent ",
    " re sent ",
    " replay",
    " double ",
    " doubled",
    " collision",
    " clash",
    " concurrent",
    " simultaneous",
    " locked by",
    " matching transaction",
    " matching request",
    " matching payment",
    " matching operation",
    " on record",
    " succeeded",
    " предыдущ",
    " прежде ",
    " очеред",
    " в работе ",
    " дважды",
    " двойн",
    " задво",
    " вторично",
    " второй раз",
    " еще раз",
    " заново",
];

/// The same about which a request's own fields are silent, in Russian.
const ANOTHER_RU: [&str; 19] = [
    " тот же",
    " той же",
    " тем же",
    " та же",
    " такой же",
    " такая же",
    " такое же",
    " этот же",
    " другой запрос",
    " другая операц",
    " другой операц",
    " другим запрос",
    " другой платеж",
    " исполняется",
    " проводится",
    " осуществляется",
    " продолжается",
    " начат",
    " запущен",
];

/// Progress, in the texts of `errors` alone.
const IN_PROGRESS_MARKERS: [&str; 17] = [
    " still ",
    " running",
    " waiting",
    " waits ",
    " awaits",
    " not done",
    " unfinished",
    " not ended",
    " has started",
    " has begun",
    " ожидает ",
    " ожидают ",
    " ждет ",
    " ждут ",
    " незаверш",
    " не окончен",
    " не исполнен",
];

/// What was done, behind "was" or "been".
const DONE: [&str; 15] = [
    "sent",
    "submitted",
    "made",
    "registered",
    "accepted",
    "completed",
    "created",
    "executed",
    "received",
    "handled",
    "performed",
    "finished",
    "seen",
    "recorded",
    "started",
];
/// The same of money, of which no card and no token is the subject.
const DONE_WITH_MONEY: [&str; 8] = [
    "paid",
    "charged",
    "debited",
    "captured",
    "approved",
    "successful",
    "refunded",
    "reused",
];
/// The same, in Russian.
const DONE_RU: [&str; 12] = [
    "отправлен",
    "отправлял",
    "проведен",
    "выполнен",
    "исполнен",
    "оплачен",
    "списан",
    "одобрен",
    "успешн",
    "совершен",
    "зачислен",
    "сделан",
];

/// What is not confirmed.
const NOT_CONFIRMED: [&str; 20] = [
    " not verif",
    " not be verif",
    " t verif",
    " t be verif",
    " cannot be verif",
    " cannot be confirm",
    " not confirm",
    " t confirm",
    " not be confirm",
    " t be confirm",
    " not been confirm",
    " t been confirm",
    " unconfirmed",
    " no confirmation",
    " without confirmation",
    " not acknowledge",
    " не подтвержд",
    " неподтвержд",
    " без подтвержд",
    " нет подтвержд",
];
/// What a customer has, and may have to confirm.
const CONFIRMED: [&str; 6] = [
    " email",
    " e mail",
    " phone",
    " почт",
    " телефон",
    " address",
];

/// An answer, and what is said when none came.
const ANSWERS: [&str; 9] = [
    " answer",
    " response",
    " reply",
    " replies",
    " confirmation",
    " acknowledg",
    " ответ",
    " отклик",
    " подтвержд",
];
const DID_NOT_COME: [&str; 22] = [
    " not received",
    " not be received",
    " not been received",
    " t received",
    " not come",
    " never came",
    " t come",
    " not arrive",
    " t arrive",
    " missing",
    " absent",
    " not obtained",
    " не получ",
    " не поступ",
    " не прише",
    " не пришл",
    " не дошл",
    " не доше",
    " не дожд",
    " не верну",
    " отсутств",
    " нет ",
];
const SILENT: [&str; 11] = [
    " unanswered",
    " not reacting",
    " not react",
    " silent",
    " without answer",
    " without an answer",
    " without response",
    " without a response",
    " молчит",
    " не откликн",
    " не реагир",
];

/// Who works on a request.
const PARTIES: [&str; 22] = [
    " bank",
    " acquirer",
    " gateway",
    " service",
    " server",
    " host",
    " system",
    " network",
    " provider",
    " issuer",
    " processor",
    " upstream",
    " банк",
    " эквайер",
    " шлюз",
    " сервис",
    " сервер",
    " систем",
    " сеть ",
    " провайдер",
    " эмитент",
    " хост",
];
/// How they are joined.
const LINKS: [&str; 9] = [
    " connection",
    " link ",
    " line ",
    " channel",
    " connectivity",
    " соединени",
    " связь",
    " связи ",
    " канал",
];
/// What they work on.
const WORK: [&str; 12] = [
    " request",
    " transaction",
    " operation",
    " session",
    " payment",
    " запрос",
    " операци",
    " транзакци",
    " сесси",
    " сеанс",
    " платеж",
    " заявк",
];

/// Something is away.
const AWAY: [&str; 20] = [
    " unavailable",
    " not available",
    " unreachable",
    " not reachable",
    " down ",
    " offline",
    " away ",
    " busy",
    " overload",
    " maintenance",
    " outage",
    " not work",
    " t work",
    " недоступ",
    " не доступ",
    " перегруж",
    " не работает",
    " временно",
    " на обслуживании",
    " техническ",
];
/// Those that say it without a subject, where the whole request is meant.
const AWAY_ALONE: [&str; 8] = [
    " unreachable",
    " offline",
    " busy",
    " overload",
    " maintenance",
    " outage",
    " перегруж",
    " не работает",
];

/// Something broke on the way.
const LOST: [&str; 21] = [
    " lost ",
    " broke ",
    " broken",
    " dropped",
    " interrupted",
    " aborted",
    " disconnect",
    " crash",
    " severed",
    " hung ",
    " stuck ",
    " reset ",
    " потерян",
    " утерян",
    " утрачен",
    " оборва",
    " прерва",
    " разорва",
    " обрыв",
    " сбой",
    " сбоя ",
];
/// Said without company.
const CUT: [&str; 5] = [
    " lost connection",
    " нет связи ",
    " потеря связи ",
    " связи нет ",
    " связь ",
];

/// What was given, and can be lost or created itself.
const GIVEN: [&str; 8] = [
    " card",
    " token",
    " date",
    " month",
    " stolen",
    " карт",
    " токен",
    " дат",
];

impl Phrase {
    pub(super) fn of(text: &str) -> Self {
        let mut words = String::with_capacity(text.len() + 2);
        words.push(' ');
        for letter in text.chars().flat_map(char::to_lowercase) {
            match letter {
                'ё' => words.push('е'),
                letter if letter.is_alphanumeric() => words.push(letter),
                _ if words.ends_with(' ') => {}
                _ => words.push(' '),
            }
        }
        if !words.ends_with(' ') {
            words.push(' ');
        }
        Self(words)
    }

    fn holds(&self, beginnings: &[&str]) -> bool {
        beginnings
            .iter()
            .any(|beginning| self.0.contains(beginning))
    }

    /// Whether it speaks of another attempt at the same thing, or of one that was made.
    pub(super) fn speaks_of_another(&self) -> bool {
        self.holds(&ANOTHER)
            || self.holds(&ANOTHER_RU)
            || self.says_when(&["earlier", "ранее", "раньше"])
            || self.says_that_it_is_done()
    }

    /// Whether it leaves open what came of the request, beside what says that there is another.
    pub(super) fn may_be_in_progress(&self, about: About) -> bool {
        let in_errors = matches!(about, About::Field | About::Whole);
        let at_large = matches!(about, About::Whole | About::Message);
        let given = self.holds(&GIVEN);
        let parties = self.holds(&PARTIES) || self.holds(&LINKS);
        let subjects = parties || self.holds(&WORK) || self.holds(&ANSWERS);
        (in_errors && self.holds(&IN_PROGRESS_MARKERS))
            || (about != About::Payer && self.says_when(&["later", "позже", "позднее", "попозже"]))
            || (self.holds(&NOT_CONFIRMED) && !self.holds(&CONFIRMED))
            || self.holds(&SILENT)
            || (self.holds(&ANSWERS)
                && self.holds(&DID_NOT_COME)
                && !self.is_about_responsibility())
            || self.holds(&CUT)
            || self.is_not_known_at_all()
            || (self.holds(&LOST) && !given && (at_large || subjects))
            || (about != About::Payer && parties && self.holds(&AWAY))
            || (at_large && self.holds(&AWAY_ALONE))
    }

    /// "Responsible", "ответственный" are no answers.
    fn is_about_responsibility(&self) -> bool {
        self.holds(&[" ответствен"]) && !self.holds(&[" ответ "])
    }

    /// "It is not known whether": the adverb, and not "unknown currency".
    fn is_not_known_at_all(&self) -> bool {
        let whether = [" whether ", " if the "];
        self.holds(&[" неизвестно "])
            || (self.holds(&whether)
                && self.holds(&[" not known", " unknown", " unclear", " uncertain"]))
    }

    /// "Earlier" and "later" by themselves, and not "must be later", "not earlier than".
    fn says_when(&self, adverbs: &[&str]) -> bool {
        let words: Vec<&str> = self.0.split_whitespace().collect();
        words.iter().enumerate().any(|(at, word)| {
            let before = at.checked_sub(1).and_then(|before| words.get(before));
            let compared = ["be", "no", "or", "not", "is", "не", "быть", "или"];
            adverbs.contains(word)
                && !before.is_some_and(|before| compared.contains(before))
                && !matches!(words.get(at + 1), Some(&"than" | &"чем"))
        })
    }

    /// "Was sent", "has just been made", "успешно проведён", and not "has not been accepted".
    fn says_that_it_is_done(&self) -> bool {
        let words: Vec<&str> = self.0.split_whitespace().collect();
        let given = self.holds(&GIVEN);
        let is_done =
            |word: &&str| DONE_WITH_MONEY.contains(word) || (!given && DONE.contains(word));
        words.iter().enumerate().any(|(at, word)| {
            let before = at.checked_sub(1).and_then(|before| words.get(before));
            let denied = before.is_some_and(|before| ["not", "t", "never", "не"].contains(before));
            let mut after = words.iter().skip(at + 1);
            let next = after
                .next()
                .filter(|next| !["not", "never"].contains(*next));
            let second = next.filter(|next| next.ends_with("ly") || **next == "just");
            let second = second.and_then(|_| after.next());
            let helped = ["was", "were", "been", "got"].contains(word)
                && [next, second].into_iter().flatten().any(is_done);
            let in_russian = !given && DONE_RU.iter().any(|done| word.starts_with(done));
            !denied && (helped || in_russian)
        })
    }
}
