// A PKCS#11 module that is SoftHSM's, whose PIN is locked: SoftHSM locks none.
#include <dlfcn.h>
#include <stdlib.h>

#define CK_PTR *
#define CK_DECLARE_FUNCTION(returnType, name) returnType name
#define CK_DECLARE_FUNCTION_POINTER(returnType, name) returnType (*name)
#define CK_CALLBACK_FUNCTION(returnType, name) returnType (*name)
#ifndef NULL_PTR
#define NULL_PTR 0
#endif
#include "pkcs11.h"

static CK_FUNCTION_LIST list;

static CK_RV locked(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG length) {
	(void)session, (void)user, (void)pin, (void)length;
	return CKR_PIN_LOCKED;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
	CK_FUNCTION_LIST_PTR real;
	void *module = dlopen(getenv("REAL_MODULE"), RTLD_NOW);
	if (!module) return CKR_GENERAL_ERROR;
	CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = (CK_RV (*)(CK_FUNCTION_LIST_PTR_PTR))dlsym(module, "C_GetFunctionList");
	if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
	list = *real;
	list.C_Login = locked;
	*out = &list;
	return CKR_OK;
}
