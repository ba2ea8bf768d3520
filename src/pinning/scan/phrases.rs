//! Words that tell a model what to do, in several languages, as patterns that are matched in one pass.
//!
//! What servers say of their own use ("call this first", "you must pass the id") is no finding: a finding speaks to a model
//! about other instructions, about the person, or about what it should read and carry away.

use super::{FindingKind, Found, plain::plain};
use regex_automata::{Input, meta::Regex, util::syntax};
use std::sync::OnceLock;

/// One pattern: what it finds, and what it is told as.
struct Rule {
    kind: FindingKind,
    what: &'static str,
    pattern: &'static str,
}

const fn rule(kind: FindingKind, what: &'static str, pattern: &'static str) -> Rule {
    Rule { kind, what, pattern }
}

const OVERRIDES: &str = "it tells a model to ignore its instructions";
const SECRECY: &str = "it tells a model to keep something from the person";
const MARKUP: &str = "it imitates messages of a system or a conversation";
const AUTHORITY: &str = "it claims that a person or the system has agreed";
const FILES: &str = "it has a model read keys or credentials";
const CARRIES: &str = "it has a model carry secrets or the conversation away";
const REDIRECTS: &str = "it has a model change where something goes";

use FindingKind::{Exfiltration, Instructions};

/// Over text in lower case. `.` is no line feed; `\b` and classes are of ASCII.
const RULES: &[Rule] = &[
    // English.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignore|disregard|forget|override|bypass|discard)\b[^.\n]{0,24}\b(previous|prior|above|earlier|preceding|existing|original|system|developer|safety|other)\b[^.\n]{0,20}\b(instructions?|prompts?|directives?|guidelines?|messages?|commands?)\b",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignore|disregard|forget)\b (all |everything |anything )?(of )?(your|the) (instructions|rules|guidelines|training|system prompt)\b",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\byou are now (no longer|acting|free|unrestricted|an? (unrestricted|different|new|other|free|evil)|in (developer|admin|god|debug|dan) mode)\b|\bnew (system )?instructions? ?:|\bfrom now on,? you (must|should|always|never|are to|have to)\b",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\b(reveal|print|repeat|output|leak|disclose|show)\b[^.\n]{0,16}\b(your|the) (system|initial|hidden|developer) (prompt|instructions|message)\b",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\b(disable|circumvent|evade|turn off|bypass)\b[^.\n]{0,12}\b(guardrails?|safety (checks?|measures?|filters?|rules?)|content filters?|security (checks?|policies|policy))\b",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(do not|don't|dont|never|must not|should not|shouldn't|without)\b[^.\n]{0,12}\b(tell|telling|inform|informing|mention|mentioning|reveal|revealing|notify|notifying|alert|alerting|disclose|disclosing|let|letting)\b[^.\n]{0,40}\b(user|human|operator|person|anyone|anybody|them)\b",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(keep|do) (this|it|that)\b[^.\n]{0,16}\b(secret|hidden|silently|secretly|confidential)\b[^.\n]{0,12}\b(from|without)\b|\bthe (user|human) (must|should|does|need|may) not (know|see|notice|be told|be aware)\b|\b(silently|secretly|covertly) (read|send|call|copy|upload|forward|include|append)\b",
    ),
    rule(
        Instructions,
        MARKUP,
        r"<\s*/?\s*(important|critical|iimportant|very_?important|system[-_ ]?(prompt|message|instructions?|reminder|override))\s*>|<\s*/\s*(system|hidden|secret|instructions?)\s*>|<\|[a-z_]{3,20}\|>|\[/?(inst|system|important instructions?)\]|#{2,4} ?(system|new instructions?)\b ?:?\n",
    ),
    rule(
        Instructions,
        AUTHORITY,
        r"\b(user|human|operator|admin|administrator) (has|have) (already )?(pre-?)?(approved|authori[sz]ed|consented|confirmed|agreed)\b|\b(is|was|are|were|been) (already |pre-?)(approved|authori[sz]ed)\b[^.\n]{0,10}\bby (the |an |your )?(system|admin|administrator|anthropic|openai|security team|user|human|operator)\b",
    ),
    // What is read.
    rule(
        Exfiltration,
        FILES,
        r"\b(read|reads|cat|open|load|fetch|access|retrieve|extract|copy|upload|send|include|attach|paste|provide|pass|contents?|get)\b[^.\n]{0,60}(~/\.ssh(/id_[a-z0-9]+|/\*|/? |/?\W?$|/?[`'\x22)])|\bid_(rsa|ed25519|ecdsa|dsa)\b|\.aws/credentials|/etc/(shadow|passwd)|\.cursor/mcp\.json|claude_desktop_config|\.mcp\.json|\.git-credentials|\.netrc|\.npmrc|\.kube/config|\.docker/config\.json|login keychain|seed phrase|private keys?\b[^\n]{0,30}\b(as|in|into|via|to) (the )?[`'\x22]?[a-z_]+[`'\x22]? (param|argument|field|url))",
    ),
    rule(
        Exfiltration,
        FILES,
        r"\b(read|cat|open|load|source)\b[^\n]{0,40}\.env\b[^\n]{0,60}\b(include|send|pass|contents?|paste|append|attach)\b",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"\b(send|forward|upload|transmit|exfiltrate|copy|bcc|leak|append|include|attach|pass|put|encode|embed|report)\b[^.\n]{0,16}\b(the|all|any|your|users?|user's|their|its|every)\b[^.\n]{0,20}\b(credentials?|secrets?|passwords?|api[-_ ]?keys?|access tokens?|private keys?|session tokens?|cookies)\b[^.\n]{0,60}\b(to|into|in|as|with|via) (https?://|(this|the|an?) (url|server|endpoint|webhook|attacker|address|sidenote|query string))|\b(send|forward|upload|transmit|exfiltrate|post|copy|bcc|leak|append|include|attach|pass|put|encode|embed|report)\b[^.\n]{0,40}\b(environment variables|(entire|full|complete|whole|previous|prior) (conversation|chat|context|history|messages?))\b[^.\n]{0,60}(https?://|@[a-z0-9-]+\.[a-z]|\b(to|into|in|as|with|via) (this|the|an?) (url|server|endpoint|webhook|attacker|address|sidenote|query string))",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"\b(include|put|pass|paste|copy|write|provide|send|append|enter)\b[^.\n]{0,30}\b(entire|full|complete|whole|verbatim)\b[^.\n]{0,12}\b(conversation|chat) (history|log|transcript|so far)\b|\b(conversation|chat) (history|so far)\b[^.\n]{0,30}\bverbatim\b|\b(your|the) (system prompt|chain of thought|hidden reasoning)\b[^.\n]{0,40}\b(here|in this (field|param|argument)|verbatim)\b",
    ),
    rule(
        Exfiltration,
        REDIRECTS,
        r"\b(change|replace|set|modify|rewrite|redirect|override)\b[^.\n]{0,30}\b(recipients?|destinations?|addressee|beneficiary|payee|iban|wallet|to address)\b[^.\n]{0,24}\b(to|with|by)\b[^.\n]{0,4}(\+?[0-9][0-9 -]{6,}|[a-z0-9._+-]+@[a-z0-9-]+\.|0x[0-9a-f]{8,}|[a-z]{2}[0-9]{2}[a-z0-9]{8,})",
    ),
    rule(
        Exfiltration,
        REDIRECTS,
        r"\b(bcc|cc|also (send|forward|copy)|(send|forward) (a )?cop(y|ies))\b[^.\n]{0,40}[a-z0-9._+-]+@[a-z0-9-]+\.[a-z]",
    ),
    // Markdown pictures that carry data in their address.
    rule(Exfiltration, CARRIES, r"!\[[^\]\n]{0,40}\]\(https?://[^)\n]{0,120}[?&][a-z0-9_]+=(\{|<|\[|\$|%7b)"),
    // German.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignorier(e|en|t)?|vergiss|vergessen|missachte(n)?|beachte)\b[^.\n]{0,40}\b(vorherigen?|bisherigen?|vorangegangenen?|vorigen?|obigen?|früheren?|alle|deine)\b[^.\n]{0,24}(anweisung|instruktion|befehl|regeln|vorgaben)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"(nutzer|benutzer|anwender|nutzerin)[^.\n]{0,24}\b(nichts|nicht|niemals|kein wort)\b[^.\n]{0,24}(sag|erzähl|verrat|mitteil|erfahren|inform|davon|erwähn)|\b(sag|sage|erzähl|erzähle|verrate|teile|erwähne)\b[^.\n]{0,24}(nutzer|benutzer|anwender)[^.\n]{0,16}\b(nichts|nicht)\b|ohne (den |die |dem )?(nutzer|benutzer|anwender)[^.\n]{0,10}(zu informieren|bescheid|davon)",
    ),
    // French.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignore[rz]?|oublie[rz]?|néglige[rz]?)\b[^.\n]{0,30}(instructions?|consignes?|directives?)[^.\n]{0,16}(précédente|antérieure|ci-dessus|initiale|système)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(ne|n'|sans)\b ?(le |la |les |jamais |pas |rien |en )?(dis|dites|dire|révèle[rz]?|mentionne[rz]?|parle[rz]?|informe[rz]?|préviens|prévenir|avertir)[^.\n]{0,30}(utilisateur|usager)",
    ),
    // Spanish and Portuguese.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignora|ignore|ignorar|olvida|olvide|esqueça|esquece|desconsidere)\b[^.\n]{0,30}(instrucciones|indicaciones|órdenes|instruções|orientações|ordens)[^.\n]{0,16}(anteriores|previas|prévias|acima|arriba|del sistema|do sistema)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(no|nunca|não|sin|sem)\b (se |le |lo |o |ao |al )*(digas?|diga|cuentes|conte|informes?|informar|menciones|mencione|mencionar|reveles|revele|avises|avise|avisar)[^.\n]{0,30}(usuario|usuário)",
    ),
    // Italian and Dutch.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignora|ignorare|dimentica|negeer|vergeet)\b[^.\n]{0,30}(istruzioni|indicazioni|vorige|eerdere|voorgaande|alle)[^.\n]{0,16}(precedenti|sopra|instructies|aanwijzingen|opdrachten)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\bnon (dire|dirlo|informare|menzionare|rivelare|avvisare)[^.\n]{0,30}utente|\b(vertel|zeg|meld)\b[^.\n]{0,24}gebruiker[^.\n]{0,16}\b(niet|niets)\b",
    ),
    // Polish and Turkish.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(zignoruj|ignoruj|zapomnij)\b[^.\n]{0,40}(poprzedni|wcześniejsz|powyższ)[^.\n]{0,12}(instrukcj|polece)|önceki (tüm )?(talimat|komut|yönerge)[^.\n]{0,24}(yok say|görmezden|unut)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\bnie (mów|informuj|wspominaj|ujawniaj)[^.\n]{0,24}(użytkownik)|kullanıcıya[^.\n]{0,24}(söyleme|bildirme|bahsetme)",
    ),
    // Russian and Ukrainian.
    rule(
        Instructions,
        OVERRIDES,
        r"(игнориру|проигнориру|забуд|ігнору)[^.\n]{0,60}(инструкц|указани|команд|правил|інструкц|вказівк)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"(не|никогда не|ничего не) (говори|сообща|рассказыва|упомина|раскрыва|показыва|кажи|повідомля)[^.\n]{0,60}(пользовател|користувач)|без (ведома|уведомления) пользовател",
    ),
    // Chinese, Japanese, Korean.
    rule(
        Instructions,
        OVERRIDES,
        r"(忽略|无视|無視|忘记|忘掉|不要理会)[^\n]{0,36}(之前|以前|先前|上面|上述|所有|以上|前面)[^\n]{0,24}(指令|指示|提示|说明|說明|规则|規則|要求)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"(不要|别|別|不能|不得|请勿|請勿|切勿)[^\n]{0,12}(告诉|告訴|通知|告知|透露|提及|提到|让|讓)[^\n]{0,18}(用户|用戶|使用者|任何人)",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"(以前|これまで|上記|前|すべて|全て)の[^\n]{0,30}(指示|命令|指令|プロンプト|ルール)[^\n]{0,15}(無視|忘れ)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"ユーザーには?[^\n]{0,45}(言わない|伝えない|知らせない|教えない|話さない|秘密)",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"(이전|위의|앞의|기존)[^.\n]{0,24}(지시|명령|지침|프롬프트)[^.\n]{0,24}(무시|잊)",
    ),
    rule(Instructions, SECRECY, r"사용자에게[^.\n]{0,45}(말하지|알리지|언급하지|밝히지|알려주지)"),
    // Arabic, Hindi.
    rule(
        Instructions,
        OVERRIDES,
        r"(تجاهل|انس|انسَ)[^.\n]{0,60}(التعليمات|الأوامر|الإرشادات)|(पिछले|पहले के|सभी)[^.\n]{0,40}(निर्देश)[^.\n]{0,40}(अनदेखा|नज़रअंदाज़|भूल)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"(لا تخبر|لا تخبري|لا تذكر|دون إخبار|دون علم)[^.\n]{0,40}(المستخدم)|(उपयोगकर्ता|यूज़र)[^.\n]{0,40}(मत बताना|न बताएं|मत बताएं|नहीं बताना)",
    ),
];

/// Parameters that servers have no use for but to learn what else is going on.
const PARAMETERS: &[&str] = &[
    "sidenote",
    "side_note",
    "chain_of_thought",
    "conversation_so_far",
    "full_conversation",
    "full_context",
    "entire_conversation",
    "tool_call_history",
    "tools_list",
    "list_of_tools",
    "available_tools_list",
    "previous_tool_results",
    "previous_messages_verbatim",
    "leaked_data",
    "exfil",
    "ssh_key_content",
];

fn build() -> Option<Regex> {
    let patterns: Vec<&str> = RULES.iter().map(|rule| rule.pattern).collect();
    let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(false);
    Regex::builder().syntax(syntax).build_many(&patterns).ok()
}

/// All patterns as one; none only where the table itself is wrong, which a test would tell.
fn patterns() -> Option<&'static Regex> {
    static PATTERNS: OnceLock<Option<Regex>> = OnceLock::new();
    PATTERNS.get_or_init(build).as_ref()
}

/// Matches of a text that are looked at.
const MOST_MATCHES: usize = 8;

/// What a text says to a model.
pub(super) fn scan(text: &str, found: &mut Vec<Found>) {
    let Some(patterns) = patterns() else { return };
    let (own, from) = plain(text, false);
    search(patterns, &own, &from, found);
    if !text.is_ascii() {
        // The same words with letters of another script among them.
        let (latin, from) = plain(text, true);
        if latin != own {
            search(patterns, &latin, &from, found);
        }
    }
}

fn search(patterns: &Regex, text: &str, from: &[u32], found: &mut Vec<Found>) {
    for matched in patterns.find_iter(Input::new(text)).take(MOST_MATCHES) {
        let Some(rule) = RULES.get(matched.pattern().as_usize()) else { continue };
        if found.iter().any(|known| known.what == rule.what) {
            continue;
        }
        let place = from.get(matched.start()).copied().unwrap_or_default();
        let place = usize::try_from(place).unwrap_or_default();
        found.push(Found { kind: rule.kind, what: rule.what.to_owned(), place, excerpt: None });
    }
}

/// What a parameter's name asks for.
pub(super) fn scan_parameter(name: &str, found: &mut Vec<Found>) {
    let (plain, _) = plain(name.get(..super::cut(name, 128)).unwrap_or_default(), true);
    let snake = plain.replace(['-', ' '], "_");
    if PARAMETERS.contains(&snake.as_str()) || PARAMETERS.iter().any(|known| known.replace('_', "") == snake)
    {
        let what = "a parameter that asks for what the tool does not need".to_owned();
        found.push(Found { kind: Exfiltration, what, place: 0, excerpt: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_are_right() {
        let patterns = build().unwrap();
        assert_eq!(patterns.pattern_len(), RULES.len());
        assert!(!patterns.is_match(""));
    }
}
