//! Secrets with a fixed beginning: the shape of the rest of each.

use super::detector::Kind;

/// The bytes that may follow a secret's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// `0-9a-f`
    Hex,
    /// `0-9a-fA-F-`
    Uuid,
    /// `A-Z0-9`
    UpperDigit,
    /// `A-Za-z0-9`
    Alnum,
    /// and `_`, `-`
    Url,
    /// and `.`, `~`
    Dotted,
    /// `A-Za-z0-9`, `+`, `/`, `=`, `%`, `_`, `-`
    Base64,
    /// what a bearer token may hold
    Token68,
    /// what a path may hold
    Path,
}

impl Charset {
    pub(super) fn has(self, byte: u8) -> bool {
        let alnum = byte.is_ascii_alphanumeric();
        match self {
            Self::Hex => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
            Self::Uuid => byte.is_ascii_hexdigit() || byte == b'-',
            Self::UpperDigit => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alnum => alnum,
            Self::Url => alnum || matches!(byte, b'_' | b'-'),
            Self::Dotted => alnum || matches!(byte, b'_' | b'-' | b'.' | b'~'),
            Self::Base64 => alnum || matches!(byte, b'+' | b'/' | b'=' | b'%' | b'_' | b'-'),
            Self::Token68 => alnum || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'.' | b'~'),
            Self::Path => alnum || matches!(byte, b'/' | b'_' | b'-' | b'.' | b'~' | b'%' | b'@' | b'='),
        }
    }
}

/// A secret with a fixed beginning, which is looked up in a table; the rest is measured by hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// The beginning, in ASCII: an expression that stands for a few words.
    pub(super) start: &'static str,
    /// Whether a letter or digit before the beginning means that it is none.
    pub(super) boundary: bool,
    /// So many bytes before it belong to the secret; they must be of the charset.
    pub(super) back: usize,
    /// The rest.
    pub(super) rest: Charset,
    /// The rest has at least so many bytes,
    pub(super) min: usize,
    /// and so many are taken.
    pub(super) max: usize,
    /// What more is asked.
    pub(super) extra: Extra,
}

/// What more is asked of a secret, or how the rest is measured instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Nothing.
    None,
    /// The beginning is no part of the secret.
    AfterStart,
    /// The beginning is short: what follows must look drawn at random, and end with the charset.
    Mixed,
    /// Base64url segments with dots.
    Jwt,
    /// A key of PuTTY, up to its last line.
    Putty,
}

const fn shape(kind: Kind, start: &'static str, rest: Charset, min: usize) -> Shape {
    Shape { kind, start, boundary: false, back: 0, rest, min, max: 4096, extra: Extra::None }
}

const fn bounded(mut shape: Shape) -> Shape {
    shape.boundary = true;
    shape
}

const fn at_most(mut shape: Shape, max: usize) -> Shape {
    shape.max = max;
    shape
}

const fn with_back(mut shape: Shape, back: usize) -> Shape {
    shape.back = back;
    shape
}

const fn with_extra(mut shape: Shape, extra: Extra) -> Shape {
    shape.extra = extra;
    shape
}

const fn after_start(shape: Shape) -> Shape {
    with_extra(shape, Extra::AfterStart)
}

/// A short beginning that words may have, too.
const fn mixed(shape: Shape) -> Shape {
    bounded(with_extra(shape, Extra::Mixed))
}

/// Specific beginnings stand before the general ones they begin with.
pub(super) const SHAPES: &[Shape] = &[
    with_extra(shape(Kind::PRIVATE_KEY, "PuTTY-User-Key-File-", Charset::Alnum, 1), Extra::Putty),
    with_extra(shape(Kind::JWT, "eyJ", Charset::Url, 8), Extra::Jwt),
    shape(Kind::AGE_KEY, "AGE-SECRET-KEY-1", Charset::UpperDigit, 30),
    shape(Kind::ANTHROPIC_KEY, "sk-ant-", Charset::Url, 20),
    shape(Kind::OPENAI_KEY, "sk-(?:proj|svcacct|admin|None)-", Charset::Url, 20),
    shape(Kind::LLM_KEY, "sk-or-v1-", Charset::Alnum, 32),
    bounded(shape(Kind::OPENAI_KEY, "sk-", Charset::Alnum, 32)),
    bounded(shape(Kind::LLM_KEY, "gsk_", Charset::Alnum, 40)),
    bounded(shape(Kind::LLM_KEY, "xai-", Charset::Alnum, 40)),
    bounded(shape(Kind::LLM_KEY, "pplx-", Charset::Alnum, 40)),
    bounded(shape(Kind::LLM_KEY, "r8_", Charset::Alnum, 36)),
    bounded(shape(Kind::LLM_KEY, "nvapi-", Charset::Url, 40)),
    bounded(shape(Kind::LLM_KEY, "pcsk_", Charset::Url, 50)),
    bounded(shape(Kind::LLM_KEY, "lsv2_[ps][tk]_", Charset::Url, 32)),
    bounded(shape(Kind::LLM_KEY, "tvly-", Charset::Url, 24)),
    at_most(shape(Kind::AWS_ACCESS_KEY, "AKIA", Charset::UpperDigit, 16), 16),
    at_most(shape(Kind::AWS_ACCESS_KEY, "ASIA", Charset::UpperDigit, 16), 16),
    at_most(shape(Kind::AWS_ACCESS_KEY, "A[BC][IC]A", Charset::UpperDigit, 16), 16),
    shape(Kind::AWS_ACCESS_KEY, "ABSK", Charset::Base64, 100),
    shape(Kind::GCP_KEY, "AIza", Charset::Url, 35),
    shape(Kind::GCP_KEY, "GOCSPX-", Charset::Url, 20),
    shape(Kind::GCP_KEY, "ya29\\.", Charset::Dotted, 20),
    with_back(at_most(shape(Kind::AZURE_SECRET, "Q~", Charset::Dotted, 31), 40), 4),
    with_back(at_most(shape(Kind::AZURE_SECRET, "AZDO", Charset::Alnum, 4), 4), 76),
    with_back(at_most(shape(Kind::AZURE_SECRET, "JQQJ99", Charset::Alnum, 26), 26), 52),
    after_start(shape(Kind::AZURE_SECRET, "[?&;]sig=", Charset::Base64, 30)),
    shape(Kind::GITHUB_TOKEN, "gh[pousr]_", Charset::Alnum, 36),
    shape(Kind::GITHUB_TOKEN, "github_pat_", Charset::Url, 22),
    shape(Kind::GITLAB_TOKEN, "gl(?:pat|dt|ptt|rt|rtr|cbt|ft|imt|agent|soat|ffct|oas)-", Charset::Dotted, 20),
    shape(Kind::GITLAB_TOKEN, "GR1348941", Charset::Url, 20),
    shape(Kind::SLACK_TOKEN, "xox[abeoprscd]-", Charset::Url, 10),
    shape(Kind::SLACK_TOKEN, "xoxe\\.xox[bp]-", Charset::Url, 10),
    shape(Kind::SLACK_TOKEN, "xapp-", Charset::Url, 20),
    after_start(shape(
        Kind::CHAT_WEBHOOK,
        "hooks\\.slack\\.com/(?:services|workflows|triggers)/",
        Charset::Base64,
        20,
    )),
    after_start(shape(Kind::CHAT_WEBHOOK, "discord(?:app)?\\.com/api/webhooks/", Charset::Base64, 30)),
    after_start(shape(Kind::CHAT_WEBHOOK, "webhook\\.office\\.com/webhookb2/", Charset::Path, 60)),
    after_start(shape(Kind::CHAT_WEBHOOK, "hooks\\.zapier\\.com/hooks/catch/", Charset::Path, 8)),
    shape(Kind::STRIPE_KEY, "[prs]k_(?:live|test|prod)_", Charset::Alnum, 10),
    shape(Kind::STRIPE_KEY, "whsec_", Charset::Base64, 20),
    shape(Kind::NPM_TOKEN, "npm_", Charset::Alnum, 36),
    shape(Kind::PYPI_TOKEN, "pypi-Ag", Charset::Url, 30),
    shape(Kind::SENDGRID_KEY, "SG\\.", Charset::Dotted, 60),
    bounded(shape(Kind::TWILIO_KEY, "SK", Charset::Hex, 32)),
    shape(Kind::HUGGINGFACE_TOKEN, "hf_", Charset::Alnum, 30),
    bounded(shape(Kind::HUGGINGFACE_TOKEN, "api_org_", Charset::Alnum, 30)),
    shape(Kind::HEROKU_KEY, "HRKU-AA", Charset::Url, 50),
    shape(Kind::HEROKU_KEY, "HRKU-", Charset::Uuid, 36),
    shape(Kind::DOCKER_TOKEN, "dckr_(?:pat|oat)_", Charset::Url, 20),
    shape(Kind::DATABRICKS_TOKEN, "dapi", Charset::Hex, 32),
    shape(Kind::DIGITALOCEAN_TOKEN, "do[opr]_v1_", Charset::Hex, 60),
    bounded(shape(Kind::HASHICORP_TOKEN, "hv[sbr]\\.", Charset::Url, 20)),
    with_back(shape(Kind::HASHICORP_TOKEN, "\\.atlasv1\\.", Charset::Url, 40), 14),
    shape(Kind::SHOPIFY_TOKEN, "shp(?:at|ca|pa|ss)_", Charset::Alnum, 32),
    shape(Kind::GRAFANA_TOKEN, "gl(?:sa|c)_", Charset::Base64, 32),
    with_back(shape(Kind::TELEGRAM_TOKEN, ":AA", Charset::Url, 32), 8),
    shape(Kind::SQUARE_TOKEN, "sq0(?:atp|csp|idp)-", Charset::Url, 22),
    shape(Kind::MAIL_KEY, "xkeysib-", Charset::Url, 40),
    bounded(shape(Kind::MAIL_KEY, "key-", Charset::Hex, 32)),
    with_back(at_most(shape(Kind::MAIL_KEY, "-us", Charset::Hex, 1), 2), 32),
    mixed(shape(Kind::MAIL_KEY, "re_", Charset::Url, 28)),
    shape(Kind::SAAS_TOKEN, "lin_api_", Charset::Alnum, 32),
    bounded(shape(Kind::SAAS_TOKEN, "ntn_", Charset::Alnum, 40)),
    bounded(shape(Kind::SAAS_TOKEN, "secret_", Charset::Alnum, 40)),
    shape(Kind::SAAS_TOKEN, "figd_", Charset::Url, 30),
    shape(Kind::SAAS_TOKEN, "NRAK-", Charset::UpperDigit, 24),
    shape(Kind::SAAS_TOKEN, "PMAK-", Charset::Url, 40),
    shape(Kind::SAAS_TOKEN, "sntry[su]_", Charset::Base64, 40),
    shape(Kind::SAAS_TOKEN, "pul-", Charset::Hex, 40),
    shape(Kind::SAAS_TOKEN, "rubygems_", Charset::Hex, 48),
    shape(Kind::SAAS_TOKEN, "AT(?:A|C)TT3", Charset::Base64, 50),
    mixed(shape(Kind::SAAS_TOKEN, "ATBB", Charset::Alnum, 32)),
    shape(Kind::SAAS_TOKEN, "dp\\.(?:pt|st|ct|sa)\\.", Charset::Dotted, 40),
    mixed(shape(Kind::SAAS_TOKEN, "pat", Charset::Dotted, 79)),
    shape(Kind::SAAS_TOKEN, "tskey-", Charset::Url, 20),
    bounded(shape(Kind::SAAS_TOKEN, "sbp_", Charset::Hex, 40)),
    shape(Kind::SAAS_TOKEN, "pscale_(?:tkn|pw|oauth)_", Charset::Dotted, 32),
    mixed(shape(Kind::SAAS_TOKEN, "sl\\.", Charset::Dotted, 60)),
    mixed(at_most(shape(Kind::SAAS_TOKEN, "cio", Charset::Alnum, 32), 32)),
    bounded(shape(Kind::SAAS_TOKEN, "ops_eyJ", Charset::Url, 100)),
    bounded(shape(Kind::SAAS_TOKEN, "dd(?:pat|app|ingest)_", Charset::Url, 32)),
    bounded(shape(Kind::SAAS_TOKEN, "sk\\.eyJ", Charset::Dotted, 40)),
    mixed(shape(Kind::SAAS_TOKEN, "EAA", Charset::Alnum, 100)),
    mixed(at_most(shape(Kind::SAAS_TOKEN, "LTAI", Charset::Alnum, 12), 26)),
    bounded(shape(Kind::SAAS_TOKEN, "CCIP(?:AT|RJ)_", Charset::Url, 40)),
    bounded(shape(Kind::SAAS_TOKEN, "bk[pu]a_", Charset::Hex, 40)),
];
