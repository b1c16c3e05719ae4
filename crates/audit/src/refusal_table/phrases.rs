//! The same table where its words stand apart, or mean something else beside others.
//!
//! What it deliberately cannot do: understand a sentence. It knows how words begin.

use super::Of;

// Each is the beginning of a word; `_` is a blank, at the end it is the end of the word.

/// Another attempt.
const DUPLICATE_MARKERS: &str = "reuse re_use idempot идемпотент previous prior_request prior_payment prior_transaction \
    prior_attempt sent_before used_before seen_before made_before submitted_before \
    processed_before paid_before handled_before underway under_way in_the_works in_flight \
    inflight ongoing on_going in_hand_ in_work_ queue enqueue backlog is_being_ are_being_ \
    still_being_ now_being_ currently_being_ being_handled being_executed being_performed \
    being_carried being_worked being_made being_sent being_verified on_its_way another_request \
    another_payment another_operation another_attempt another_process same_payment \
    same_operation same_key same_tracking same_attempt second_time second_attempt once_more \
    resubmi resent_ re_sent_ replay double_ doubled collision clash concurrent simultaneous \
    locked_by matching_transaction matching_request matching_payment matching_operation \
    on_record succeeded предыдущ прежде_ очеред в_работе_ дважды двойн задво вторично второй_раз \
    еще_раз заново тот_же той_же тем_же та_же такой_же такая_же такое_же этот_же другой_запрос \
    другая_операц другой_операц другим_запрос другой_платеж исполняется проводится \
    осуществляется продолжается начат запущен";

/// Work that goes on, said of the request alone.
const AT_WORK: &str = "still_ running waiting waits_ awaits not_done unfinished not_ended has_started has_begun \
    ожидает_ ожидают_ ждет_ ждут_ незаверш не_окончен не_исполнен";

/// What "was" or "has been".
const DONE: &str = "sent submitted made registered accepted completed created executed received handled \
    performed finished seen recorded started";

/// The same of money.
const PAID: &str = "paid charged debited captured approved successful refunded reused";

/// Done, in Russian.
const DONE_RU: &str = "отправлен отправлял проведен выполнен исполнен оплачен списан одобрен успешн совершен \
    зачислен сделан";

/// Not confirmed, and what customers confirm themselves.
const UNCONFIRMED: &str = "not_verif not_be_verif t_verif t_be_verif cannot_be_verif cannot_be_confirm not_confirm t_confirm not_be_confirm t_be_confirm not_been_confirm t_been_confirm \
    unconfirmed no_confirmation without_confirmation not_acknowledge не_подтвержд неподтвержд \
    без_подтвержд нет_подтвержд";
const OF_CUSTOMERS: &str = "email e_mail phone почт телефон address";

/// An answer, and its absence.
const ANSWER: &str = "answer response reply replies confirmation acknowledg ответ отклик подтвержд";
const ABSENT: &str = "not_received not_be_received not_been_received t_received not_come never_came t_come \
    not_arrive t_arrive missing absent not_obtained не_получ не_поступ не_прише не_пришл не_дошл \
    не_доше не_дожд не_верну отсутств нет_";
const SILENT: &str = "unanswered not_reacting not_react silent without_answer without_an_answer without_response \
    without_a_response молчит не_откликн не_реагир";

/// Who works on a request, or how they are joined; and on what.
const PARTY: &str = "bank acquirer gateway service server host system network provider issuer processor upstream \
    банк эквайер шлюз сервис сервер систем сеть_ провайдер эмитент хост connection link_ line_ \
    channel connectivity соединени связь связи_ канал";
const WORK: &str = "request transaction operation session payment запрос операци транзакци сесси сеанс платеж \
    заявк";

/// Not there.
const AWAY: &str = "unavailable not_available unreachable not_reachable down_ offline away_ busy overload \
    maintenance outage not_work t_work недоступ не_доступ перегруж не_работает временно \
    на_обслуживании техническ";
const AWAY_ALONE: &str =
    "unreachable offline busy overload maintenance outage перегруж не_работает";

/// Broken on the way.
const LOST: &str = "lost_ broke_ broken dropped interrupted aborted disconnect crash severed hung_ stuck_ reset_ \
    потерян утерян утрачен оборва прерва разорва обрыв сбой сбоя_";
const CUT: &str = "lost_connection нет_связи_ потеря_связи_ связи_нет_ связь_";

/// What can be lost, or made, itself.
const GIVEN: &str = "card token date month stolen карт токен дат";

/// A text as its words in small letters, a blank around each.
pub(super) fn spaced(text: &str) -> String {
    let plain = text.to_lowercase().replace('ё', "е");
    let words = plain.split(|letter: char| !letter.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.fold(String::from(" "), |text, word| text + word + " ")
}

fn begins(spaced: &str, words: &str) -> bool {
    let mut words = words.split_whitespace();
    words.any(|word| spaced.contains(&format!(" {}", word.replace('_', " "))))
}

fn is_one_of(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|known| known == word)
}

/// An adverb of time that compares with nothing.
fn says_when(spaced: &str, adverbs: &str) -> bool {
    let words: Vec<&str> = spaced.split_whitespace().collect();
    (0..words.len()).any(|at| {
        let before = if at == 0 { "" } else { words[at - 1] };
        let after = words.get(at + 1).copied().unwrap_or_default();
        is_one_of(adverbs, words[at])
            && !is_one_of("be no or not is не быть или", before)
            && !is_one_of("than чем", after)
    })
}

/// Something has been done, which is not denied.
fn is_done(spaced: &str) -> bool {
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let given = begins(spaced, GIVEN);
    let done = |at: usize| {
        let word = words.get(at).copied().unwrap_or_default();
        is_one_of(PAID, word) || (!given && is_one_of(DONE, word))
    };
    (0..words.len()).any(|at| {
        let denied = at > 0 && is_one_of("not t never не", words[at - 1]);
        let next = words.get(at + 1).copied().unwrap_or_default();
        let passes = next.ends_with("ly") || next == "just";
        let helped = is_one_of("was were been got", words[at])
            && !is_one_of("not never", next)
            && (done(at + 1) || (passes && done(at + 2)));
        let mut russian = DONE_RU.split_whitespace();
        let russian = !given && russian.any(|done| words[at].starts_with(done));
        !denied && (helped || russian)
    })
}

/// Whether there is, or was, another attempt.
pub(super) fn speak_of_another(spaced: &str) -> bool {
    begins(spaced, DUPLICATE_MARKERS)
        || says_when(spaced, "earlier ранее раньше")
        || is_done(spaced)
}

/// Whether the outcome stays open.
pub(super) fn leave_open(spaced: &str, of: Of) -> bool {
    let is = |words| begins(spaced, words);
    let at_large = [Of::Whole, Of::Message].contains(&of);
    let no_answer = is(ANSWER) && is(ABSENT) && (is("ответ_") || !is("ответствен"));
    let whether = is("whether_ if_the_") && is("not_known unknown unclear uncertain");
    let subject = is(PARTY) || is(WORK) || is(ANSWER);
    let at_work = [Of::Field, Of::Whole].contains(&of) && is(AT_WORK);
    let away = is(PARTY) && is(AWAY);
    let later = says_when(spaced, "later позже позднее попозже");
    at_work
        || (of != Of::Payer && (later || away))
        || (is(UNCONFIRMED) && !is(OF_CUSTOMERS))
        || is(SILENT)
        || no_answer
        || is(CUT)
        || is("неизвестно_")
        || whether
        || (is(LOST) && !is(GIVEN) && (at_large || subject))
        || (at_large && is(AWAY_ALONE))
}
