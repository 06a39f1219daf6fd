//! Signing in (RFC 8628 in Google's dialect) and tokens.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    CLIENT_ID, CLIENT_SECRET,
    reply::{Asked, Reply, form},
    script::Call,
    world::{Code, World},
};

const SCOPE: &str = "https://www.googleapis.com/auth/drive.file";
/// Seconds between two polls; a client that polls sooner must slow down.
const INTERVAL: u64 = 1;

pub(super) fn answer(world: &mut World, asked: &Asked) -> Reply {
    let form = form(&asked.body);
    let has = |key: &str, value: &str| form.get(key).is_some_and(|given| given == value);
    match asked.call {
        Call::Code if !has("client_id", CLIENT_ID) => refused(401, "invalid_client"),
        Call::Code if !has("scope", SCOPE) => refused(400, "invalid_scope"),
        Call::Code => code(world),
        Call::Revoke => {
            let token = form.get("token").cloned().unwrap_or_default();
            let known = world.refresh.contains(&token);
            world.refresh.retain(|refresh| *refresh != token);
            if known { Reply::json(200, &json!({})) } else { refused(400, "invalid_token") }
        }
        _ if !has("client_id", CLIENT_ID) || !has("client_secret", CLIENT_SECRET) => refused(401, "invalid_client"),
        _ if has("grant_type", "refresh_token") => {
            if form.get("refresh_token").is_some_and(|token| world.refresh.contains(token)) {
                granted(world, false)
            } else {
                refused(400, "invalid_grant")
            }
        }
        _ if has("grant_type", "urn:ietf:params:oauth:grant-type:device_code") => asked_again(world, &form),
        _ => refused(400, "unsupported_grant_type"),
    }
}

fn code(world: &mut World) -> Reply {
    let device_code = world.next_secret("AH-1Ng");
    let user_code = world.next("HAUL-");
    world.codes.insert(
        device_code.clone(),
        Code { typed: user_code.clone(), approved: None, expired: false, asked: Instant::now() },
    );
    Reply::json(
        200,
        &json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_url": "https://www.google.com/device",
            "expires_in": 1800,
            "interval": INTERVAL,
        }),
    )
}

fn asked_again(world: &mut World, form: &HashMap<String, String>) -> Reply {
    let Some(code) = form.get("device_code").and_then(|code| world.codes.get_mut(code)) else {
        return refused(400, "invalid_grant");
    };
    let waited = code.asked.elapsed();
    code.asked = Instant::now();
    // A little before its time is still polite: clocks of two programs differ.
    if waited + Duration::from_millis(50) < Duration::from_secs(INTERVAL) {
        return refused(403, "slow_down");
    }
    match code.approved {
        _ if code.expired => refused(400, "expired_token"),
        None => refused(428, "authorization_pending"),
        Some(false) => refused(403, "access_denied"),
        Some(true) => {
            code.expired = true;
            granted(world, true)
        }
    }
}

fn granted(world: &mut World, with_refresh: bool) -> Reply {
    let access = world.next_secret("ya29.a0");
    world.access.insert(access.clone(), Instant::now() + world.token_life);
    let mut tokens = json!({ "access_token": access, "expires_in": world.token_life.as_secs(), "scope": SCOPE, "token_type": "Bearer" });
    if with_refresh {
        tokens["refresh_token"] = world.new_refresh_token().into();
    }
    Reply::json(200, &tokens)
}

fn refused(status: u16, word: &str) -> Reply {
    Reply::json(status, &json!({ "error": word, "error_description": "as said" }))
}
