//! The detectors that are built in: their names, the class of what they find, and for secrets with a
//! fixed beginning the shape of the rest.

use crate::model::Sensitivity;

/// A detector by its place in the compiled list: built-in ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kind(pub(super) u16);

impl Kind {
    /// Whether it is known by its form alone: a prefix, a frame, an own pattern. The other detectors also find in random
    /// bytes what is chance.
    pub(super) fn is_formed(self) -> bool {
        self < Self::HIGH_ENTROPY || usize::from(self.0) >= BUILT_IN.len()
    }
}

/// A finding in a text, in bytes, between characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// The classes that are there without data.yaml, and their levels.
pub(super) const CLASSES: &[(&str, Sensitivity)] = &[
    ("secret", Sensitivity::Restricted),
    ("suspected_secret", Sensitivity::Confidential),
    ("personal", Sensitivity::Confidential),
    ("financial", Sensitivity::Confidential),
    ("sensitive", Sensitivity::Confidential),
    // What somebody outside may have written. It says nothing about who may see it.
    ("untrusted", Sensitivity::Public),
];

macro_rules! built_in {
    ($($konst:ident $name:literal $class:literal,)*) => {
        #[expect(non_camel_case_types, reason = "an index under the constants' own names")]
        #[expect(clippy::upper_case_acronyms, reason = "an index under the constants' own names")]
        #[repr(u16)]
        enum Index { $($konst,)* }
        impl Kind {
            $(pub(super) const $konst: Self = Self(Index::$konst as u16);)*
        }
        /// Name and class of each, in the order of [`Kind`].
        pub(super) const BUILT_IN: &[(&str, &str)] = &[$(($name, $class),)*];
    };
}

built_in! {
    AGE_KEY "age_key" "secret",
    ANTHROPIC_KEY "anthropic_key" "secret",
    AWS_ACCESS_KEY "aws_access_key" "secret",
    AZURE_SECRET "azure_secret" "secret",
    BASIC_AUTH "basic_auth" "secret",
    BEARER_TOKEN "bearer_token" "secret",
    CHAT_WEBHOOK "chat_webhook" "secret",
    DATABRICKS_TOKEN "databricks_token" "secret",
    DIGITALOCEAN_TOKEN "digitalocean_token" "secret",
    DOCKER_TOKEN "docker_token" "secret",
    GCP_KEY "gcp_key" "secret",
    GITHUB_TOKEN "github_token" "secret",
    GITLAB_TOKEN "gitlab_token" "secret",
    GRAFANA_TOKEN "grafana_token" "secret",
    HASHICORP_TOKEN "hashicorp_token" "secret",
    HUGGINGFACE_TOKEN "huggingface_token" "secret",
    JWT "jwt" "secret",
    LLM_KEY "llm_key" "secret",
    MAIL_KEY "mail_key" "secret",
    NPM_TOKEN "npm_token" "secret",
    OPENAI_KEY "openai_key" "secret",
    PRIVATE_KEY "private_key" "secret",
    PYPI_TOKEN "pypi_token" "secret",
    SAAS_TOKEN "saas_token" "secret",
    SENDGRID_KEY "sendgrid_key" "secret",
    SHOPIFY_TOKEN "shopify_token" "secret",
    SLACK_TOKEN "slack_token" "secret",
    SQUARE_TOKEN "square_token" "secret",
    STRIPE_KEY "stripe_key" "secret",
    TELEGRAM_TOKEN "telegram_token" "secret",
    TWILIO_KEY "twilio_key" "secret",
    URL_PASSWORD "url_password" "secret",
    HIGH_ENTROPY "high_entropy" "suspected_secret",
    EMAIL "email" "personal",
    PHONE "phone" "personal",
    CARD "card" "financial",
    IBAN "iban" "financial",
    US_SSN "us_ssn" "personal",
    BR_CPF "br_cpf" "personal",
    CA_SIN "ca_sin" "personal",
    CH_AHV "ch_ahv" "personal",
    CN_RESIDENT_ID "cn_resident_id" "personal",
    ES_DNI "es_dni" "personal",
    FR_NIR "fr_nir" "personal",
    IN_AADHAAR "in_aadhaar" "personal",
    IT_CODICE_FISCALE "it_codice_fiscale" "personal",
    PL_PESEL "pl_pesel" "personal",
    FIELD_PASSWORD "field_password" "secret",
    FIELD_SECRET "field_secret" "secret",
    FIELD_TOKEN "field_token" "secret",
    FIELD_KEY "field_key" "secret",
    FIELD_AUTHORIZATION "field_authorization" "secret",
    FIELD_COOKIE "field_cookie" "secret",
    FIELD_SESSION "field_session" "secret",
    FIELD_CODE "field_code" "secret",
    FIELD_CARD "field_card" "financial",
    FIELD_ACCOUNT "field_account" "financial",
    FIELD_IDENTITY "field_identity" "personal",
    FIELD_BIRTH "field_birth" "personal",
    SENSITIVE "sensitive" "sensitive",
    POINTER "pointer" "sensitive",
    CONSTRAINT "constraint" "sensitive",
    TOO_DEEP "too_deep" "sensitive",
}

/// The bytes that may follow a secret's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// `0-9a-f`
    Hex,
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
}

impl Charset {
    pub(super) fn has(self, byte: u8) -> bool {
        let alnum = byte.is_ascii_alphanumeric();
        match self {
            Self::Hex => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
            Self::UpperDigit => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alnum => alnum,
            Self::Url => alnum || matches!(byte, b'_' | b'-'),
            Self::Dotted => alnum || matches!(byte, b'_' | b'-' | b'.' | b'~'),
            Self::Base64 => alnum || matches!(byte, b'+' | b'/' | b'=' | b'%' | b'_' | b'-'),
            Self::Token68 => alnum || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'.' | b'~'),
        }
    }
}

/// A secret with a fixed beginning. The expression finds only the beginning, so that the automaton
/// stays small whatever the input; the rest is measured by hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// The beginning, in ASCII.
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
    /// The same, and the rest holds a digit.
    AfterStartWithDigit,
    /// Base64 of `user:password`.
    BasicCredentials,
    /// Base64url segments with dots.
    Jwt,
    /// Up to the end line.
    Pem,
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

/// Specific beginnings stand before the general ones they begin with.
pub(super) const SHAPES: &[Shape] = &[
    with_extra(
        shape(Kind::PRIVATE_KEY, "-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", Charset::Alnum, 0),
        Extra::Pem,
    ),
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
    at_most(shape(Kind::AWS_ACCESS_KEY, "AKIA", Charset::UpperDigit, 16), 16),
    at_most(shape(Kind::AWS_ACCESS_KEY, "ASIA", Charset::UpperDigit, 16), 16),
    at_most(shape(Kind::AWS_ACCESS_KEY, "A[BC][IC]A", Charset::UpperDigit, 16), 16),
    shape(Kind::AWS_ACCESS_KEY, "ABSK", Charset::Base64, 100),
    shape(Kind::GCP_KEY, "AIza", Charset::Url, 35),
    shape(Kind::GCP_KEY, "GOCSPX-", Charset::Url, 20),
    shape(Kind::GCP_KEY, "ya29\\.", Charset::Dotted, 20),
    with_back(at_most(shape(Kind::AZURE_SECRET, "Q~", Charset::Dotted, 31), 40), 4),
    with_extra(shape(Kind::AZURE_SECRET, "[?&;]sig=", Charset::Base64, 30), Extra::AfterStart),
    shape(Kind::GITHUB_TOKEN, "gh[pousr]_", Charset::Alnum, 36),
    shape(Kind::GITHUB_TOKEN, "github_pat_", Charset::Url, 22),
    shape(Kind::GITLAB_TOKEN, "gl(?:pat|dt|ptt|rt|rtr|cbt|ft|imt|agent|soat|ffct|oas)-", Charset::Dotted, 20),
    shape(Kind::SLACK_TOKEN, "xox[abeoprs]-", Charset::Url, 10),
    shape(Kind::SLACK_TOKEN, "xoxe\\.xox[bp]-", Charset::Url, 10),
    shape(Kind::SLACK_TOKEN, "xapp-", Charset::Url, 20),
    with_extra(
        shape(
            Kind::CHAT_WEBHOOK,
            "hooks\\.slack\\.com/(?:services|workflows|triggers)/",
            Charset::Base64,
            20,
        ),
        Extra::AfterStart,
    ),
    with_extra(
        shape(Kind::CHAT_WEBHOOK, "discord(?:app)?\\.com/api/webhooks/", Charset::Base64, 30),
        Extra::AfterStart,
    ),
    shape(Kind::STRIPE_KEY, "[prs]k_(?:live|test|prod)_", Charset::Alnum, 10),
    shape(Kind::STRIPE_KEY, "whsec_", Charset::Base64, 20),
    shape(Kind::NPM_TOKEN, "npm_", Charset::Alnum, 36),
    shape(Kind::PYPI_TOKEN, "pypi-Ag", Charset::Url, 30),
    shape(Kind::SENDGRID_KEY, "SG\\.", Charset::Dotted, 60),
    bounded(shape(Kind::TWILIO_KEY, "SK", Charset::Hex, 32)),
    shape(Kind::HUGGINGFACE_TOKEN, "hf_", Charset::Alnum, 30),
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
    shape(Kind::SAAS_TOKEN, "lin_api_", Charset::Alnum, 32),
    bounded(shape(Kind::SAAS_TOKEN, "ntn_", Charset::Alnum, 40)),
    bounded(shape(Kind::SAAS_TOKEN, "secret_", Charset::Alnum, 40)),
    shape(Kind::SAAS_TOKEN, "figd_", Charset::Url, 30),
    shape(Kind::SAAS_TOKEN, "NRAK-", Charset::UpperDigit, 24),
    shape(Kind::SAAS_TOKEN, "PMAK-", Charset::Url, 40),
    shape(Kind::SAAS_TOKEN, "sntrys_", Charset::Base64, 40),
    shape(Kind::SAAS_TOKEN, "pul-", Charset::Hex, 40),
    shape(Kind::SAAS_TOKEN, "rubygems_", Charset::Hex, 48),
    shape(Kind::SAAS_TOKEN, "ATATT3", Charset::Base64, 50),
    shape(Kind::SAAS_TOKEN, "dp\\.(?:pt|st|ct|sa)\\.", Charset::Dotted, 40),
    with_extra(
        bounded(shape(Kind::BEARER_TOKEN, "[Bb]earer ", Charset::Token68, 16)),
        Extra::AfterStartWithDigit,
    ),
    with_extra(
        bounded(shape(Kind::BEARER_TOKEN, "BEARER ", Charset::Token68, 16)),
        Extra::AfterStartWithDigit,
    ),
    with_extra(bounded(shape(Kind::BASIC_AUTH, "[Bb]asic ", Charset::Base64, 8)), Extra::BasicCredentials),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_short_and_their_classes_exist() {
        let mut names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BUILT_IN.len());
        for (name, class) in BUILT_IN {
            assert!(name.len() <= super::super::mask::MAX_NAME);
            assert!(CLASSES.iter().any(|(known, _)| known == class), "{class}");
        }
        assert_eq!(BUILT_IN[usize::from(Kind::EMAIL.0)].0, "email");
        assert_eq!(BUILT_IN[usize::from(Kind::TOO_DEEP.0)].0, "too_deep");
    }
}
