// This file changes settings, and puts them back.

package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// The undos of this driver.
const (
	opSet   = "set"    // a setting back to its old value
	opNicUp = "nic-up" // the storage NIC up again
)

func noSuchOption(key string) error {
	return fmt.Errorf("there is no option %s: %w", key, soap.WrapVimFault(&types.InvalidName{Name: key}))
}

// Tune changes an option of the host, or one of the four parameters of its iSCSI adapter. A Misc.APDTimeout that is changed
// during an APD does not apply to that one (docs.vmware.com, vSphere 7.0 Storage, GUID-5CC5A990).
func (d *Driver) Tune(ctx context.Context, key, value string, j drivers.Journal) error {
	old, err := d.knob(ctx, key)
	if err != nil {
		return fmt.Errorf("tuning %s: %w", key, err)
	}
	if _, err := like(old.value, value); err != nil {
		return fmt.Errorf("tuning %s: %w", key, err)
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opSet, Args: map[string]string{"key": key, "value": fmt.Sprint(old.value)}}); err != nil {
		return fmt.Errorf("noting the old %s before changing it: %w", key, err)
	}
	if err := d.set(ctx, old, value); err != nil {
		return fmt.Errorf("tuning %s: %w", key, err)
	}
	return nil
}

// Undo puts a setting or the storage NIC back.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	switch u.Op {
	case opSet:
		return d.putBack(ctx, u.Args["key"], u.Args["value"])
	case opNicUp:
		return d.nicUp(ctx, u.Args["nic"])
	}
	return "", drivers.ErrUnknownUndo
}

func (d *Driver) putBack(ctx context.Context, key, value string) (drivers.UndoResult, error) {
	now, err := d.knob(ctx, key)
	if err != nil {
		return "", fmt.Errorf("putting %s back to %s: %w", key, value, err)
	}
	if fmt.Sprint(now.value) == value {
		return drivers.NothingLeft, nil
	}
	if err := d.set(ctx, now, value); err != nil {
		return "", fmt.Errorf("putting %s back to %s: %w", key, value, err)
	}
	return drivers.Undone, nil
}

// knob is a setting as it is now.
type knob struct {
	key       string
	value     any
	adapter   string // of an iSCSI parameter
	inherited *bool
}

// knob reads a setting.
func (d *Driver) knob(ctx context.Context, key string) (knob, error) {
	k := knob{key: key}
	p, err := d.find(ctx)
	if err != nil {
		return k, err
	}
	err = d.api.call(ctx, func(ctx context.Context, v *visit) (err error) {
		if !slices.Contains(iscsiKeys, key) {
			k.value, err = option(ctx, v, p.options, key)
			return err
		}
		found, err := retrieve(ctx, v, want{[]ref{p.storage}, []string{hbasAt, pathsAt, lunsAt}})
		if err != nil {
			return err
		}
		hba, ok := adapterOf(found[p.storage], p.disks)
		if !ok {
			return errors.New("the host's iSCSI adapter is not known")
		}
		k.adapter = hba.Device
		for _, o := range hba.AdvancedOptions {
			if o.Key == key {
				k.value, k.inherited = o.Value, o.IsInherited
				return nil
			}
		}
		return noSuchOption(key)
	})
	return k, err
}

// set changes a setting and looks whether it took.
func (d *Driver) set(ctx context.Context, k knob, value string) error {
	next, err := like(k.value, value)
	if err != nil {
		return err
	}
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	o := types.OptionValue{Key: k.key, Value: next}
	err = d.api.callFor(ctx, taskBound, func(ctx context.Context, v *visit) error {
		if k.adapter == "" {
			_, err := methods.UpdateOptions(ctx, v, &types.UpdateOptions{This: p.options, ChangedValue: []types.BaseOptionValue{&o}})
			return err
		}
		param := types.HostInternetScsiHbaParamValue{OptionValue: o}
		if k.inherited != nil {
			param.IsInherited = types.NewBool(true) // as the API wants it of a value that is changed and may be inherited
		}
		_, err := methods.UpdateInternetScsiAdvancedOptions(ctx, v, &types.UpdateInternetScsiAdvancedOptions{This: p.storage, IScsiHbaDevice: k.adapter,
			Options: []types.HostInternetScsiHbaParamValue{param}})
		return err
	})
	if err != nil {
		return err
	}
	now, err := d.knob(ctx, k.key)
	if err != nil {
		return fmt.Errorf("looking whether it took: %w", err)
	}
	if fmt.Sprint(now.value) != fmt.Sprint(next) {
		return fmt.Errorf("the host took %v and still says %v", next, now.value)
	}
	return nil
}

// like makes text a value of the same type as old: the API refuses one of another.
func like(old any, text string) (any, error) {
	var v any
	var err error
	switch old.(type) {
	case int64:
		v, err = strconv.ParseInt(text, 10, 64)
	case int32:
		var n int64
		n, err = strconv.ParseInt(text, 10, 32)
		v = int32(n)
	case int16:
		var n int64
		n, err = strconv.ParseInt(text, 10, 16)
		v = int16(n)
	case bool:
		v, err = strconv.ParseBool(text)
	case float32:
		var x float64
		x, err = strconv.ParseFloat(text, 32)
		v = float32(x)
	case float64:
		v, err = strconv.ParseFloat(text, 64)
	case string:
		v = text
	default:
		return nil, fmt.Errorf("its value is of type %T, which cannot be written", old)
	}
	if err != nil {
		return nil, fmt.Errorf("%q is no value of type %T", text, old)
	}
	return v, nil
}
