//! What the scan knows of words that tell a model what to do: patterns in several languages. Data alone.
//!
//! Classes and `.` are of single bytes, so a repetition counts bytes: a letter beyond ASCII has two or three.

use super::FindingKind;
use FindingKind::{Exfiltration, Instructions};

/// One pattern: what it finds, and what it is told as.
pub(super) struct Rule {
    pub(super) kind: FindingKind,
    pub(super) what: &'static str,
    pub(super) pattern: &'static str,
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

/// Over text in lower case. `.` is no line feed; `\b` and classes are of ASCII.
pub(super) const RULES: &[Rule] = &[
    // English.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignore|disregard|forget|overlook|discard|abandon|set aside|put aside|pay no attention to|do not follow|don't follow|stop following|no longer follow|disobey)\b[^.\n]{0,30}\b(you|anyone|anybody|they|user|human|person|system|developer)('ve| have| had|'d)? ?(were|was|are|been|ever)? ?(told|taught|instructed|ordered|trained|asked|said|commanded)\b",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignore|disregard|forget) (everything|anything|all|whatever|what) ?(that |which )?(is |was |stands |came |comes |has been said |was said |you read |you know |you have read )?(above|before|earlier|so far|until now|previously)( this| that| now)?($|[,;:!).\n]| and\b)",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignore|disregard|forget|do not follow|don't follow|do not comply with|don't comply with|refuse to follow|stop following|pay no attention to|disobey)\b[^.\n]{0,24}\b(previous|prior|above|earlier|preceding|original|system|developer|safety|your)\b[^.\n]{0,20}\b(rules|orders|guidance|constraints|restrictions|instructions?|prompts?|directives?|guidelines?|tasks?|goals?)\b",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\byour (real|actual|true|new|only|secret|hidden) (task|goal|purpose|job|objective|mission|instructions?) (is|are)( now)?( to\b|:| not\b)|\binstead of (doing )?what (the|your) (user|human|person|operator) (asked|asks|wants|wanted|requested|said)\b|\b(takes?|has|have) (precedence|priority) over (all |any |the |your |every )*(other |previous |prior |existing )*(system prompt|instructions|directives)\b|\bpretend (that )?you (are|have)\b",
    ),
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
        r"\b(do not|don't|dont|never|must not|should not|shouldn't|without)\b[^.\n]{0,12}\b(tell|telling|inform|informing|mention|mentioning|reveal|revealing|notify|notifying|alert|alerting|disclose|disclosing|let|letting)\b[^.\n]{0,40}\b(user|human|operator|person|owner|customer|anyone|anybody|them)\b",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(keep|do) (this|it|that)\b[^.\n]{0,16}\b(secret|hidden|silently|secretly|confidential)\b[^.\n]{0,12}\b(from|without)\b|\bthe (user|human) ((must|should) not see|(must|should|does|need|may) not (know|notice|be told|be aware))\b|\b(silently|secretly|covertly) (read|send|call|copy|upload|forward|include|append)\b",
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
    rule(
        Instructions,
        SECRECY,
        r"\b(do not|don't|dont|never|must not|mustn't|should not|shouldn't)\b[^.\n]{0,12}\b(tell|inform|mention|reveal|say|talk|speak|show|admit|disclose)\b[^.\n]{0,30}\b(person|customer|owner|reviewer|approver|auditor|administrator)\b|\b(do not|don't|never)\b[^.\n]{0,4}\b(tell|inform) (the |any |your )?(people|users|humans)\b",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(hide|conceal|withhold|keep) (this|it|that|these|those|the fact|what you|your|all of this|any of this)\b[^.\n]{0,40}\bfrom (the |your |any |every |all )?(user|users|human|humans|person|people|operator|owner|customer|reviewer|approver|auditor|admin|administrator)\b|\b(the|your) (user|human|person|operator|customer|owner|reviewer|approver) (((must|should|does|need|may|shall|is|ought) ?(not|never))|mustn't|shouldn't|doesn't|needn't|isn't) (to |need to |have to )?(know|notice|be told|be aware|learn|find out|be informed)\b|\b(the|your) (user|human|person|operator|customer|owner|reviewer|approver) (must|should|shall) (not|never) (see|hear|be shown)\b|\bwithout (the |your )?(user|human|person|operator|customer|owner)('s)? (knowing|noticing|realizing|realising|knowledge|being aware|becoming aware|awareness|finding out)\b|\b(as if|as though|like) nothing (has |had )?happened\b",
    ),
    rule(
        Instructions,
        OVERRIDES,
        r"\b(set aside|put aside|drop|discard|override|overlook|neglect)\b[^.\n]{0,24}\b(previous|prior|earlier|preceding|former)\b[^.\n]{0,12}\b(guidance|instructions?|orders|directions|rules)\b|\b(ignore|disregard|discard|forget|set aside|drop)\b[^.\n]{0,16}\b(guidance|instructions?|orders|directions|rules)\b[^.\n]{0,12}\b(given to you|you were given|you got|you received|you have been given)\b|\bwhat (the|your) (user|person|human|operator|customer) (told|tells|said|says|asked|asks|wants)( you)?\b[^.\n]{0,16}\b(does not|doesn\x27t|no longer) (matter|count|apply)\b|\bdo the opposite\b|\b(all|your|safety|system|user's|operator's|developer's|person's)\b[^.\n]{0,12}\b(rules|instructions|guidelines|restrictions|wishes|safeguards)\b[^.\n]{0,16}\b((no longer|do not) apply|(are|is) (suspended|lifted|void|off)\b)|\b(obey|follow) (only )?(this|these) (description|tool|text|message|instructions?) (only|alone|instead)\b|\b(only|exclusively) (obey|follow) (this|these)\b|\b(override|ignore|drop|suspend|defeat)\b[^.\n]{0,12}\b(guardrails?|safety (checks?|measures?|rules?)|safeguards)\b|\bagainst the (user|person|human|operator|customer)('s)? (wishes|requests?|will|interests?|instructions?)\b",
    ),
    rule(
        Instructions,
        AUTHORITY,
        r"\btreat (this|these)\b[^.\n]{0,16}\bas (if )?(coming|it came|it comes|they came|sent|a message|an instruction|instructions|orders)\b[^.\n]{0,12}\b(system|administrator|admin|developer|user|operator)\b|\byou have (already )?been (granted|given) (full|complete|unlimited|root|admin|all) (authority|permissions?|access|approval|rights)\b",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(make sure|ensure) (that )?(nobody|no one|no human|the (user|person|human|customer|operator) (does not|doesn't|never|can't|cannot))\b[^.\n]{0,12}\b(sees?|notices?|knows?|finds? out|learns?)\b|\b(do not|don't|never)\b[^.\n]{0,8}\b(mention|reveal|disclose|repeat|quote|admit|acknowledge|talk about|speak of|refer to) (this|these|that|those|the above) (instructions?|note|message|step|description|prompt|hint|rule)\b|\b(keep|stay|remain) (quiet|silent|mum)\b[^.\n]{0,16}\b(it|this|user|person|customer|human|operator)\b|\b(when|if) (you are |you're )?asked\b[^.\n]{0,12}\b(deny|lie)\b",
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
    rule(
        Exfiltration,
        FILES,
        r"\b(read|steal|cat|grab|open|load|copy|upload|leak|exfiltrate|harvest|send|paste|attach)\b[^.\n]{0,20}\b(users?|person|human|owner|operator|victim|customer|your|their|his|her)('?s)? ?[^.\n]{0,16}\b((ssh|gpg|pgp|private|signing) keys?|key ?chain|seed phrase|browser cookies|credentials file)\b|\b(read|steal|grab|copy|upload|exfiltrate|harvest)\b[^.\n]{0,20}\b(user|person|human|owner|victim|customer|their|his|her)('?s)? ?[^.\n]{0,16}\bpasswords?\b|\b(get|fetch|retrieve|access|take|find|collect|extract|read|open|load)\b[^.\n]{0,40}\b((ssh|gpg|pgp|private|signing|api|access) keys?|passwords?|key ?chain|seed phrase|cookies|credentials|secrets|tokens)\b[^.\n]{0,30}\b(and|then)\b[^.\n]{0,12}\b(send|pass|post|upload|forward|mail|email|paste|exfiltrate|leak)\b|\b(steal|harvest|exfiltrate)\b[^.\n]{0,40}\b(keys?|passwords?|credentials|secrets|tokens|cookies|conversation)\b",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"\b(send|forward|upload|transmit|email|mail|leak|relay|hand over|exfiltrate|bcc)\b[^.\n]{0,24}\b(entire|whole|complete)\b[^.\n]{0,12}\b(conversation|chat|dialogue|dialog)\b[^.\n]{0,30}\b(to|at|via)\b|\b(send|forward|upload|transmit|email|mail|leak|relay|hand over|exfiltrate|include|report|append|pass)\b[^.\n]{0,12}\b(everything|all|whatever|anything|what) (that |which )?(the|your) (user|human|person|operator|customer) (has |have |ever |just )?(said|typed|wrote|written|told|entered|asked|says|types|writes)\b|\bsend (all|everything)( you (know|have|see|find))?( of it)? to (me|us|him|her|them)\b",
    ),
    rule(
        Exfiltration,
        FILES,
        r"\b(collect|grab|gather|dump|read|take)\b[^.\n]{0,16}\b(environment variables?|env vars?)\b[^.\n]{0,12}\b(and|then)\b[^.\n]{0,12}\b(pass|send|include|put|post|append|attach|upload)\b|\b(copy|send|paste|upload|steal|put)\b[^.\n]{0,12}\b(password (store|vault|manager|database)|browser (cookies|history|passwords)|credential store|key ?ring)\b[^.\n]{0,20}\b(into|in|to|as)\b",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"\b(send|forward|upload|post|mail|email|transmit)\b[^.\n]{0,12}\b(transcript|summary|copy|log|record|history)\b[^.\n]{0,12}\bof (this|the|our|your) (session|conversation|chat|dialogue|dialog)\b[^.\n]{0,24}\b(to|at) (https?:|[a-z0-9._+-]+@)",
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
    // The same languages: what was said before, other words for the person, and what is read and carried away. German.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignorier(e|en|t)?|vergiss|vergessen sie|missachte(n)?|verwirf)\b[^.\n]{0,24}\bwas\b[^.\n]{0,30}(gesagt|sagt|verlangt|aufgetragen|beigebracht|gelernt|mitgeteilt|angewiesen|befohlen)|\bbefolge[^.\n]{0,8}\bnicht\b[^.\n]{0,16}(anweisung|regeln|vorgaben)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(sag|sage|sagen sie|erzähl|erzähle|verrate|verraten sie)\b[^.\n]{0,12}\bniemand(em)?\b|\b(sag|sage|sagen sie|erzähl|erzähle|verrate|erwähne)\b[^.\n]{0,24}\b(person|menschen|kunden|kundin|bediener|betreiber)\b[^.\n]{0,16}\b(nichts|nicht|kein wort)\b|ohne dass[^.\n]{0,12}(nutzer|benutzer|anwender|person|mensch|kunde)[^.\n]{0,12}(merkt|bemerkt|erfährt|weiß)|\b(darf|soll)\b[^.\n]{0,24}\b(nicht|nichts)\b[^.\n]{0,12}\b(erfahren|wissen|merken)\b",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"(\b(sende|senden sie|schicke|schick|schicken sie|leite)\b|übermittle|übertrage)[^.\n]{0,30}\b(gesamte|ganze|komplette|vollständige)(n|s|r)?\b[^.\n]{0,12}(gespräch|unterhaltung|konversation|chat|verlauf|dialog)[^.\n]{0,30}\b(an|nach|zu|zum|zur|weiter)\b",
    ),
    rule(
        Exfiltration,
        FILES,
        r"(\b(lies|lese|lesen sie|kopiere|kopieren sie|stiehl)\b|öffne)[^.\n]{0,40}((ssh|private|privaten|geheimen|api)[- ]?(schlüssel|key)|passwörter|zugangsdaten)",
    ),
    // French.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignore[rz]?|oublie[rz]?|néglige[rz]?|ne ten(ez|ons) pas compte de|ne tiens pas compte de)\b[^.\n]{0,16}\bce (que|qu'|qui)[^.\n]{0,30}(dit|demandé|appris|ordonné|enseigné)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(ne|n'|sans)\b ?(le |la |les |jamais |pas |rien |en )?(dis|dites|dire|révèle[rz]?|mentionne[rz]?|parle[rz]?|informe[rz]?|préviens|prévenir|avertir)[^.\n]{0,30}(à personne|à quiconque|\b(la personne|au client|le client|au propriétaire))|à l'insu de",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"\b(envoie|envoyez|envoyer|transmets|transmettez|transfère|transférez)\b[^.\n]{0,20}((toute|entière|intégralité|ensemble|complète)[^.\n]{0,16}(conversation|discussion)|(conversation|discussion) (entière|complète|intégrale))[^.\n]{0,16}(à|vers)",
    ),
    rule(
        Exfiltration,
        FILES,
        r"\b(lis|lisez|copie|copiez|ouvre|ouvrez|vole|volez)\b[^.\n]{0,40}(clés?|clefs?) (ssh|privée|secrète|api)|\b(lis|lisez|copie|copiez|vole|volez)\b[^.\n]{0,30}mots? de passe",
    ),
    // Spanish and Portuguese.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignora|ignore|ignorar|olvida|olvide|descarta|descarte|esqueça|esquece|desconsidere)\b[^.\n]{0,16}\b(lo que|o que)\b[^.\n]{0,30}(dijeron|dicho|dijo|ordenad|pedido|enseñad|ensinad|disseram|disse|dito)|\b(descarta|descarte|descartar)\b[^.\n]{0,12}(instrucciones|instruções)[^.\n]{0,8}(anteriores|previas|prévias)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(no|nunca|não|sin|sem) (se |le |lo |o |ao |al )*(digas?|diga|cuentes|conte|informes?|informar|menciones|mencione|mencionar|reveles|revele|avises|avise|avisar)[^.\n]{0,30}\b(persona|pessoa|cliente|humano|nadie|ninguém)\b",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"(envía|envia|envíe|envie|enviar|manda|mande|reenvía|reenvie|transmite|encaminhe)\b[^.\n]{0,20}((toda|todo|completa|completo|entera|inteira)[^.\n]{0,12}(conversación|conversa|diálogo|chat)|(conversación|conversa|chat|diálogo) (completa|completo|entera|entero|inteira|inteiro))[^.\n]{0,24}\b(a|al|para|ao)\b",
    ),
    rule(
        Exfiltration,
        FILES,
        r"\b(lee|lea|leia|copia|copie|abre|abra|roba|robe|roube)\b[^.\n]{0,40}\b((clave|llave|chave)s? (ssh|privada|secreta|api)|contraseñas|senhas)",
    ),
    // Italian.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(ignora|ignorare|dimentica|dimenticare)\b[^.\n]{0,16}(\b(quello|tutto)\b|ciò)[^.\n]{0,30}(detto|ordinato|insegnato|chiesto)|\b(ignora|dimentica)\b[^.\n]{0,8}istruzioni di prima",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\bnon (dire|dirlo|informare|menzionare|rivelare|avvisare)[^.\n]{0,30}\b(persona|cliente|nessuno)\b|all'insaputa",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"\b(invia|inviare|manda|mandare|inoltra|inoltrare|trasmetti)\b[^.\n]{0,20}((tutta|intera|completa)[^.\n]{0,8}(conversazione|chat|discussione)|conversazione (intera|completa))[^.\n]{0,24}\b(a|al|all|verso)\b",
    ),
    rule(
        Exfiltration,
        FILES,
        r"\b(leggi|copia|apri|ruba)\b[^.\n]{0,40}\b((chiave|chiavi) (ssh|privat|segret|api)|le password)",
    ),
    // Dutch.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(negeer|vergeet)\b[^.\n]{0,16}\bwat\b[^.\n]{0,30}(verteld|gezegd|opgedragen|geleerd|zei|zegt|vraagt)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\b(vertel|zeg|meld)\b[^.\n]{0,12}\bniets\b[^.\n]{0,16}\b(gebruiker|persoon|klant)\b|\b(vertel|zeg|meld)\b[^.\n]{0,24}\b(persoon|klant|mens)\b[^.\n]{0,16}\b(niet|niets)\b|\b(vertel|zeg)\b[^.\n]{0,16}\bniemand\b|zonder dat[^.\n]{0,12}(gebruiker|persoon|klant)[^.\n]{0,12}(weet|merkt)",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"\b(stuur|verstuur|zend|verzend)\b[^.\n]{0,20}\b(hele|volledige|gehele|complete)\b[^.\n]{0,8}(gesprek|conversatie|chat)[^.\n]{0,24}\b(naar|aan)\b",
    ),
    rule(
        Exfiltration,
        FILES,
        r"\b(lees|kopieer|open|steel)\b[^.\n]{0,40}((ssh|privé|geheime|api)[- ]?(sleutel|key)|wachtwoorden)",
    ),
    // Polish and Turkish.
    rule(
        Instructions,
        OVERRIDES,
        r"\b(zignoruj|ignoruj|zapomnij)\b[^.\n]{0,16}\b(co|wszystko)\b[^.\n]{0,30}(powiedzian|polecon|kazan|mówion)|\bpomiń[^.\n]{0,12}(poprzedni|wcześniejsz)[^.\n]{0,8}instrukcj|(sana|size) [^.\n]{0,24}(söylenen|verilen|anlatılan|öğretilen)[^.\n]{0,30}(yok say|görmezden|unut|dikkate alma)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"\bnie (mów|informuj|wspominaj|ujawniaj)[^.\n]{0,24}(osob|klient|nikomu)|\bnikomu nie (mów|wspominaj)|(kişiye|müşteriye|kimseye|insana)[^.\n]{0,24}(söyleme|bildirme|bahsetme|anlatma)",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"(wyślij|prześlij|przekaż)[^.\n]{0,20}(całą|cały|pełną|pełny)[^.\n]{0,8}(rozmow|konwersacj|czat)|(tüm|bütün) (konuşma|sohbet|yazışma)[^.\n]{0,40}(gönder|ilet|yolla|aktar)",
    ),
    rule(
        Exfiltration,
        FILES,
        r"\b(odczytaj|przeczytaj|skopiuj)\b[^.\n]{0,40}(klucz[^.\n]{0,8}(ssh|prywatn|api)|hasła)|(ssh|özel|gizli) anahtar[^.\n]{0,30}(oku|kopyala|gönder)",
    ),
    // Russian and Ukrainian.
    rule(
        Instructions,
        OVERRIDES,
        r"(игнориру|проигнориру|забуд|ігнору)[^.\n]{0,40}(все|всё|то|усе|те)[^.\n]{0,30}(говорил|сказал|сказан|велел|поручил|казали|казав)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"(не|никогда не|ничего не|нічого не) (говори|сообща|рассказыва|упомина|раскрыва|показыва|кажи|повідомля)[^.\n]{0,60}(человек|клиент|людин|клієнт|никому|нікому)|(никому|нікому)[^.\n]{0,20}не (говори|сообща|рассказ|кажи|повідом)",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"(отправ|перешли|передай|надішли|відправ)[^.\n]{0,40}(всю|весь|полную|целиком|усю)[^.\n]{0,24}(переписк|разговор|диалог|бесед|розмов|листуван|діалог)",
    ),
    rule(
        Exfiltration,
        FILES,
        r"(прочитай|прочти|скопируй|открой|укради|скопіюй|відкрий)[^.\n]{0,80}((ssh|закрыт|приватн|секретн)[^.\n]{0,20}ключ|парол)",
    ),
    // Chinese, Japanese, Korean.
    rule(
        Instructions,
        OVERRIDES,
        r"(忽略|无视|無視|不要理会)[^\n]{0,12}(系统|系統)(的)?(提示|指令|规则|規則)|(忽略|无视|無視|忘记|忘記|忘掉|不要理会)[^\n]{0,36}(告诉|告訴|告知|教给|教給|说|說)[^\n]{0,6}(你|您)|(言われた|教えられた|指示された)[^\n]{0,24}(無視|忘れ)|(들은|지시받은|배운|말한)[^.\n]{0,30}(무시|잊)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"(不要|别|別|不能|不得|请勿|請勿|切勿)[^\n]{0,12}(告诉|告訴|通知|告知|透露|提及|提到|让|讓)[^\n]{0,18}(本人|对方|對方|客户|客戶|主人|别人|別人|那个人|那個人)|(不要|别|別|不能|不得|请勿|請勿|切勿)[^\n]{0,6}(向|对|對|跟)(用户|用戶|使用者|任何人|他人|本人|客户|客戶)[^\n]{0,12}(透露|提及|提到|说|說|泄露|洩露)|(利用者|本人|相手|誰|お客様|人)に(は|も)?[^\n]{0,45}(言わない|伝えない|知らせない|教えない|話さない)|(사람|고객|누구|본인|아무)에게(도|는)?[^.\n]{0,45}(말하지|알리지|언급하지|밝히지|알려주지)",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"(发送|發送|转发|轉發|上传|上傳)[^\n]{0,18}(整个|整個|全部|完整)的?(对话|對話|聊天|会话|會話)|(整个|整個|全部|完整)的?(对话|對話|聊天|会话|會話)[^\n]{0,36}(发送|發送|发给|發給|转发|轉發|上传|上傳|传给|傳給)|(会話|チャット|対話)の?(全体|全て|すべて|全部)[^\n]{0,30}(送信|送っ|転送|アップロード)|(전체|모든) (대화|채팅)[^.\n]{0,40}(보내|전송|전달|업로드)",
    ),
    rule(
        Exfiltration,
        FILES,
        r"(读取|讀取|复制|複製|窃取|竊取)[^\n]{0,30}((ssh|api) ?(密钥|密鑰|钥匙)|私钥|私鑰)|(ssh|秘密)の?(鍵|キー)を?[^\n]{0,20}(読み|読ん|コピー|送信)|(ssh|개인|비밀) ?키[^.\n]{0,30}(읽|복사|보내|전송)",
    ),
    // Arabic, Hindi.
    rule(
        Instructions,
        OVERRIDES,
        r"(تجاهل|انس|انسَ)[^.\n]{0,20}ما[^.\n]{0,20}(قيل|أخبر|طلب|تعلمت)|(बताया गया|कहा गया|सिखाया गया|बताया था|कहा था)[^.\n]{0,40}(अनदेखा|नज़रअंदाज़|भूल)",
    ),
    rule(
        Instructions,
        SECRECY,
        r"(لا تخبر|لا تخبري|لا تذكر|دون إخبار|دون علم)[^.\n]{0,40}(للمستخدم|الشخص|للشخص|العميل|للعميل|أحد|أي شخص)|(व्यक्ति|किसी|ग्राहक)[^.\n]{0,40}(मत बता|न बता|नहीं बताना|मत कह)",
    ),
    rule(
        Exfiltration,
        CARRIES,
        r"(أرسل|ارسل|انقل)[^.\n]{0,30}((المحادثة|الدردشة|الحوار)[^.\n]{0,12}(كاملة|بأكملها|كلها|بالكامل)|(كامل|جميع|كل) (المحادثة|الدردشة))|(पूरी|सारी) (बातचीत|चैट)[^.\n]{0,60}भेज",
    ),
    rule(
        Exfiltration,
        FILES,
        r"(اقرأ|انسخ|افتح)[^.\n]{0,40}(مفتاح|مفاتيح)[^.\n]{0,40}(ssh|الخاص|السري)|(ssh|निजी|गुप्त)[^.\n]{0,20}कुंजी[^.\n]{0,40}(पढ़|कॉपी|भेज)",
    ),
];
