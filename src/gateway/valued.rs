//! A call with the values that its upstream may have for placeholders: in the arguments, in the URI of a resource, and in what
//! goes beside them.

use super::{
    api::Purpose,
    extras,
    placeholders::{KnownValues, Revealed},
    request::Request,
    target::Target,
};
use crate::{
    catalog::View,
    model::{CallKind, CapabilityId},
    redaction::{DataRules, Tokenized},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What is known of it.
pub(super) struct Valued {
    /// As they are decided on and sent.
    pub(super) arguments: Arc<Value>,
    pub(super) capabilities: Arc<[CapabilityId]>,
    pub(super) revealed: Vec<Tokenized>,
    /// What goes upstream beside them, with such values.
    pub(super) beside: Option<Value>,
    /// There are some in that.
    pub(super) reveals_beside: bool,
}

/// Why it is not known.
pub(super) enum Unvalued {
    /// What stands behind these has to be looked up first.
    Sealed(Vec<Arc<str>>),
    /// With its values it names what the agent does not see.
    Unknown,
}

/// Puts in what the target may have. `given`: the arguments as the agent sent them.
pub(super) fn valued(
    (data, known): (&DataRules, &KnownValues),
    (view, narrow): (&View, Option<&[CapabilityId]>),
    request: &Request,
    (target, capabilities): (&Target, Arc<[CapabilityId]>),
    given: &Arc<Value>,
) -> Result<Valued, Unvalued> {
    // What no rule concerns goes as it is.
    let is_concerned = data.tokenizes() || data.acts_on_arguments(&target.place());
    let mut beside = is_concerned.then(|| extras::beside(request)).flatten();
    let mut valued = Valued {
        arguments: given.clone(),
        capabilities,
        revealed: Vec::new(),
        beside: None,
        reveals_beside: false,
    };
    // Of what is completed or watched nothing is read.
    let is_read = matches!(request.purpose, Purpose::Use);
    if request.kind == CallKind::Resource && !is_read {
        return Ok(Valued { beside, ..valued });
    }
    if let Some(sealed) = known.missing(data, given, beside.as_ref()) {
        return Err(Unvalued::Sealed(sealed));
    }
    let place = target.place();
    match request.kind {
        CallKind::Tool | CallKind::Prompt => {
            if let Some(Revealed { arguments, tokens }) = known.revealed(data, &place, given) {
                (valued.arguments, valued.revealed) = (arguments, tokens);
            }
        }
        CallKind::Resource => {
            if let Some((uri, tokens)) = known.revealed_uri(data, &place, target.full()) {
                let (uri, capabilities) =
                    same_template(view, target, &uri, narrow).ok_or(Unvalued::Unknown)?;
                valued.arguments = Arc::new(json!({"uri": uri}));
                (valued.capabilities, valued.revealed) = (capabilities, tokens);
            }
        }
    }
    let with_values = beside.as_ref().and_then(|beside| known.revealed(data, &place, beside));
    if let Some(Revealed { arguments, tokens }) = with_values {
        beside = Some(Arc::unwrap_or_clone(arguments));
        valued.reveals_beside = true;
        valued.revealed.extend(tokens);
    }
    Ok(Valued { beside, ..valued })
}

/// What a URI with values in it names: what the same template stands for, in the agent's own scope; else nothing.
fn same_template(
    view: &View,
    target: &Target,
    uri: &str,
    narrow: Option<&[CapabilityId]>,
) -> Option<(String, Arc<[CapabilityId]>)> {
    let Target::Item(item, _) = target else { return None };
    let (covered, uri) = view.resource(uri, narrow).ok().flatten()?;
    Arc::ptr_eq(&covered.entry, item).then_some((uri, covered.capabilities))
}
