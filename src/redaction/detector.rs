//! The detectors that are built in: their names, and the class of what they find.

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
    DISCORD_TOKEN "discord_token" "secret",
    DOCKER_TOKEN "docker_token" "secret",
    GCP_KEY "gcp_key" "secret",
    GITHUB_TOKEN "github_token" "secret",
    GITLAB_TOKEN "gitlab_token" "secret",
    GRAFANA_TOKEN "grafana_token" "secret",
    HASHICORP_TOKEN "hashicorp_token" "secret",
    HEROKU_KEY "heroku_key" "secret",
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
    DE_STEUER_ID "de_steuer_id" "personal",
    ES_DNI "es_dni" "personal",
    ES_NIE "es_nie" "personal",
    FR_NIR "fr_nir" "personal",
    IN_AADHAAR "in_aadhaar" "personal",
    IT_CODICE_FISCALE "it_codice_fiscale" "personal",
    NL_BSN "nl_bsn" "personal",
    PL_PESEL "pl_pesel" "personal",
    PT_NIF "pt_nif" "personal",
    UK_NINO "uk_nino" "personal",
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
    FIELD_PHONE "field_phone" "personal",
    SENSITIVE "sensitive" "sensitive",
    POINTER "pointer" "sensitive",
    CONSTRAINT "constraint" "sensitive",
    TOO_DEEP "too_deep" "sensitive",
}

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
