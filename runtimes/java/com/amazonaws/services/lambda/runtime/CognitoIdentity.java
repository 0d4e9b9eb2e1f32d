package com.amazonaws.services.lambda.runtime;

/** Who the client is. */
public interface CognitoIdentity {
    String getIdentityId();

    String getIdentityPoolId();
}
