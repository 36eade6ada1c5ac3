//! Reads the document that Access serves at `/cdn-cgi/access/get-identity`.

use crate::{
    claim::Claim,
    document::{Faults, Mode, Place},
    email::EmailAddress,
    error::Error,
    fact::Fact,
    identity::Identity,
    node::Node,
};

impl Identity<'static> {
    /// Reads the document that Access serves at `/cdn-cgi/access/get-identity`.
    ///
    /// | field | becomes |
    /// |---|---|
    /// | `email` | the address; required |
    /// | `idp.id` | the provider |
    /// | `groups` | groups: texts, or objects of which `id`, `name` and `email` count |
    /// | `organizations`, `teams` | GitHub organisations by `login` or `name`, teams by `slug` or `name` with their `organization` |
    /// | `saml_attributes` | SAML attributes |
    /// | `oidc_fields`, `custom` | OIDC claims |
    /// | `amr` | methods of the login |
    /// | `auth_contexts`, `acrs` | authentication contexts |
    ///
    /// A field that is not there is *unavailable*, an empty one says that there is nothing. Other
    /// fields are passed over: `geo`, `ip`, `devicePosture` and tokens were true at the login, and
    /// belong to a [`Request`](crate::Request) as they are now. Cloudflare documents `email`, `idp`
    /// and `groups`; the shapes of the others are inferred.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, has no `email` (a program logged in), or a field above has another
    /// type; each with its place.
    ///
    /// # Security
    ///
    /// Only a document that came straight from the team's host, or from a verified token, proves
    /// anything.
    ///
    /// ```
    /// use access_policy::Identity;
    ///
    /// let hanako = Identity::from_get_identity_json(
    ///     br#"{"email": "Hanako@example.jp", "idp": {"id": "5a1e8b8c", "type": "github"},
    ///          "teams": [{"slug": "ops", "organization": {"login": "acme"}}],
    ///          "geo": {"country": "JP"}, "user_uuid": "f174e90a", "iat": 1700000000}"#,
    /// )?;
    /// assert_eq!(
    ///     hanako,
    ///     Identity::new("hanako@example.jp".parse()?)
    ///         .provider("5a1e8b8c")
    ///         .github_organization("acme", ["ops"]),
    /// );
    /// # Ok::<(), access_policy::Error>(())
    /// ```
    pub fn from_get_identity_json(text: &[u8]) -> Result<Self, Error> {
        let node = Node::from_json(text)?;
        let faults = Faults::new(Mode::Strict);
        let result = read(&Place::root(&node, &faults));
        faults.finish(result).map(|(identity, _)| identity)
    }
}

fn read(root: &Place<'_>) -> Result<Identity<'static>, Error> {
    let email = root.required("email")?.parse_with(EmailAddress::parse)?;
    let mut identity = Identity::new(email);
    if let Some(idp) = root.field("idp")?
        && let Some(id) = idp.field("id")?
    {
        identity = identity.provider(id.string()?.to_owned());
    }
    if let Some(groups) = root.field("groups")? {
        identity = identity.groups(fact(groups.collect(read_group)?.concat()));
    }
    if let Some(methods) = root.field("amr")? {
        identity = identity.auth_methods(fact(methods.collect(owned)?));
    }
    for name in ["auth_contexts", "acrs"] {
        if let Some(contexts) = root.field(name)? {
            identity = identity.auth_contexts(fact(contexts.collect(owned)?));
        }
    }
    if let Some(attributes) = root.field("saml_attributes")? {
        let read = |field: Place<'_>| Ok((field.name().to_owned(), read_values(&field)?));
        let attributes = attributes.fields()?.map(read).collect::<Result<Vec<_>, Error>>()?;
        identity = identity.saml_attributes(fact(attributes));
    }
    let mut claims = None;
    for name in ["oidc_fields", "custom"] {
        if let Some(fields) = root.field(name)? {
            let read = |field: Place<'_>| (field.name().to_owned(), field.node().clone().into());
            claims
                .get_or_insert_with(Vec::<(String, Claim)>::new)
                .extend(fields.fields()?.map(read));
        }
    }
    if let Some(claims) = claims {
        identity = identity.oidc_claims(fact(claims));
    }
    read_github(root, identity)
}

/// What is listed, or that there is none.
fn fact<T>(list: Vec<T>) -> Fact<Vec<T>> {
    if list.is_empty() { Fact::Absent } else { Fact::Known(list) }
}

fn owned(place: &Place<'_>) -> Result<String, Error> {
    place.string().map(str::to_owned)
}

/// Providers name a group by id, by name or by address; a rule may mean any of them.
fn read_group(place: &Place<'_>) -> Result<Vec<String>, Error> {
    if !place.is_object() {
        return owned(place).map(|group| vec![group]);
    }
    let names = place.fields()?.filter(|field| ["id", "name", "email"].contains(&field.name()));
    names.map(|field| owned(&field)).collect()
}

/// One value, or several.
fn read_values(place: &Place<'_>) -> Result<Vec<String>, Error> {
    if place.is_array() { place.collect(owned) } else { owned(place).map(|value| vec![value]) }
}

fn read_github(
    root: &Place<'_>,
    mut identity: Identity<'static>,
) -> Result<Identity<'static>, Error> {
    let mut organizations: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_known = false;
    if let Some(list) = root.field("organizations")? {
        is_known = true;
        for name in list.collect(|place| name_of(place, &["login", "name"]))? {
            organizations.push((name, Vec::new()));
        }
    }
    if let Some(list) = root.field("teams")? {
        is_known = true;
        let teams = list.collect(|place| {
            let organization = name_of(&place.required("organization")?, &["login", "name"])?;
            Ok((organization, name_of(place, &["slug", "name"])?))
        })?;
        for (organization, team) in teams {
            match organizations.iter_mut().find(|(name, _)| *name == organization) {
                Some((_, teams)) => teams.push(team),
                None => organizations.push((organization, vec![team])),
            }
        }
    }
    if is_known && organizations.is_empty() {
        identity = identity.no_github_organizations();
    }
    for (name, teams) in organizations {
        identity = identity.github_organization(name, teams);
    }
    Ok(identity)
}

/// A text, or the first of these fields of an object.
fn name_of(place: &Place<'_>, fields: &[&'static str]) -> Result<String, Error> {
    if !place.is_object() {
        return owned(place);
    }
    for field in fields {
        if let Some(name) = place.field(field)? {
            return owned(&name);
        }
    }
    Err(place.error(crate::error::Kind::MissingField(fields.first().copied().unwrap_or("name"))))
}
